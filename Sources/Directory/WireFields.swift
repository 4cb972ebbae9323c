import Addressing
import NIOCore
import Sodium

// The fields that frames are made of. Integers are big-endian; text is UTF-8 after its length; every read checks what is
// left and returns nil, without moving, when it does not fit.
extension ByteBuffer {
    mutating func writeText8(_ text: String) {
        writeInteger(UInt8(clamping: text.utf8.count))
        writeBytes(text.utf8.prefix(255))
    }

    mutating func readText8() -> String? {
        guard let length = readInteger(as: UInt8.self) else { return nil }
        return readText(Int(length))
    }

    mutating func writeText16(_ text: String) {
        writeInteger(UInt16(clamping: text.utf8.count))
        writeBytes(text.utf8.prefix(65535))
    }

    mutating func readText16(limit: Int) -> String? {
        guard let length = readInteger(as: UInt16.self), Int(length) <= limit else { return nil }
        return readText(Int(length))
    }

    private mutating func readText(_ length: Int) -> String? {
        guard let bytes = readBytes(length: length) else { return nil }
        return String(validating: bytes, as: UTF8.self)
    }

    mutating func writeBytes32(_ value: Bytes32) { writeBytes(value.bytes) }

    mutating func readBytes32() -> Bytes32? { readBytes(length: 32).flatMap { Bytes32($0) } }

    mutating func writeAgentID(_ id: AgentID) { writeBytes(id.bytes) }

    mutating func readAgentID() -> AgentID? { readBytes(length: 16).flatMap { AgentID($0) } }

    /// One byte 4 or 16, then the address.
    mutating func writeAddress(_ address: IPAddress) {
        let bytes = address.bytes
        writeInteger(UInt8(bytes.count))
        writeBytes(bytes)
    }

    mutating func readAddress() -> IPAddress? {
        guard let length = readInteger(as: UInt8.self), let bytes = readBytes(length: Int(length)) else { return nil }
        return IPAddress(bytes: bytes)
    }

    /// A count byte, then as many elements; nil when there are more than `limit` or one does not parse.
    mutating func readList<Element>(limit: Int, _ element: (inout ByteBuffer) -> Element?) -> [Element]? {
        guard let count = readInteger(as: UInt8.self), Int(count) <= limit else { return nil }
        var elements: [Element] = []
        for _ in 0..<count {
            guard let next = element(&self) else { return nil }
            elements.append(next)
        }
        return elements
    }

    mutating func writeList<Element>(_ elements: [Element], _ element: (inout ByteBuffer, Element) -> Void) {
        writeInteger(UInt8(clamping: elements.count))
        for next in elements.prefix(255) { element(&self, next) }
    }
}
