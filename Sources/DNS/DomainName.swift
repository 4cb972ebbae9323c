/// A domain name without compression, in lower case, so that names are equal when DNS says so (RFC 1035 3.1, RFC 4343).
package struct DomainName: Hashable, Sendable {
    package static let lengthLimit = 255
    package static let labelLimit = 63

    /// Labels, each after its length, and the root's zero byte: 1 to 255 bytes.
    package let wire: [UInt8]

    package static let root = DomainName(checked: [0])

    /// - Parameter wire: already as it is to be.
    init(checked wire: [UInt8]) { self.wire = wire }

    /// From labels; nil when one is empty or too long, or all of them are.
    package init?(labels: [some Collection<UInt8>], below parent: DomainName = .root) {
        var wire: [UInt8] = []
        for label in labels {
            guard (1...Self.labelLimit).contains(label.count) else { return nil }
            wire.append(UInt8(label.count))
            for byte in label { wire.append(Self.lowercased(byte)) }
        }
        wire += parent.wire
        guard wire.count <= Self.lengthLimit else { return nil }
        self.init(checked: wire)
    }

    /// From text with dots between the labels, and one at the end or none; there are no escapes.
    package init?(_ text: String, below parent: DomainName = .root) {
        var bytes = Array(text.utf8)[...]
        if bytes.last == UInt8(ascii: ".") { bytes = bytes.dropLast() }
        if bytes.isEmpty {
            self = parent
        } else {
            self.init(
                labels: bytes.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false), below: parent)
        }
    }

    /// Whether it is `parent` or a name below.
    package func isWithin(_ parent: DomainName) -> Bool { offset(of: parent) != nil }

    /// The labels in front of `parent`'s, the first one first; nil for a name that is not within it.
    package func labels(below parent: DomainName) -> [ArraySlice<UInt8>]? {
        guard let end = offset(of: parent) else { return nil }
        var labels: [ArraySlice<UInt8>] = []
        var offset = 0
        while offset < end {
            let next = offset + 1 + Int(wire[offset])
            labels.append(wire[(offset + 1)..<next])
            offset = next
        }
        return labels
    }

    private func offset(of parent: DomainName) -> Int? {
        let end = wire.count - parent.wire.count
        var offset = 0
        while offset < end { offset += 1 + Int(wire[offset]) }
        // A suffix of bytes that begins inside a label is no parent.
        guard offset == end, wire[offset...].elementsEqual(parent.wire) else { return nil }
        return offset
    }

    static func lowercased(_ byte: UInt8) -> UInt8 {
        (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) ? byte | 0x20 : byte
    }
}

extension DomainName: CustomStringConvertible {
    /// Without the last dot; bytes that are no printable ASCII, dots and backslashes as `\DDD` (RFC 1035 5.1).
    package var description: String {
        let labels = labels(below: .root) ?? []
        return labels.isEmpty ? "." : labels.map(Self.text).joined(separator: ".")
    }

    private static func text(_ label: ArraySlice<UInt8>) -> String {
        var text = ""
        for byte in label {
            if (0x21...0x7e).contains(byte), byte != UInt8(ascii: "."), byte != UInt8(ascii: "\\") {
                text.unicodeScalars.append(Unicode.Scalar(byte))
            } else {
                let digits = String(byte)
                text += "\\" + String(repeating: "0", count: 3 - digits.utf8.count) + digits
            }
        }
        return text
    }
}
