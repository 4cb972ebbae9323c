package import Addressing

/// Writes a STUN message, attribute after attribute; `bytes` is always a whole message.
package struct MessageBuilder: Sendable {
    package private(set) var bytes: [UInt8]
    private let transaction: TransactionID

    /// - Parameter cookie: another than the magic one only in answers to classic clients.
    package init(
        _ messageClass: Message.Class, method: UInt16 = Message.bindingMethod, transaction: TransactionID,
        cookie: UInt32 = Message.magicCookie
    ) {
        self.transaction = transaction
        let classBits = UInt16(messageClass.rawValue)
        let type =
            method & 0x000f | (method & 0x0070) << 1 | (method & 0x0f80) << 2
            | (classBits & 2) << 7 | (classBits & 1) << 4
        bytes = []
        bytes.reserveCapacity(64)
        append(type)
        append(UInt16(0))
        append(cookie)
        append(transaction.high)
        append(transaction.low)
    }

    /// Appends any attribute; at most 65,535 bytes of value, and no more in the whole message.
    package mutating func append(_ type: AttributeType, _ value: some Collection<UInt8>) {
        append(type.rawValue)
        append(UInt16(value.count))
        bytes.append(contentsOf: value)
        bytes.append(contentsOf: repeatElement(0, count: -value.count & 3))
        writeLength(bytes.count - Message.headerSize)
    }

    package mutating func appendXORMappedAddress(_ endpoint: Endpoint) {
        append(.xorMappedAddress, AddressAttribute.encode(endpoint, mask: transaction))
    }

    /// Any of the attributes with an endpoint but XOR-MAPPED-ADDRESS.
    package mutating func appendAddress(_ type: AttributeType, _ endpoint: Endpoint) {
        append(type, AddressAttribute.encode(endpoint, mask: nil))
    }

    /// ERROR-CODE without a reason phrase, which is for people and may be empty.
    package mutating func appendErrorCode(_ code: UInt16) {
        append(.errorCode, [0, 0, UInt8(code / 100), UInt8(code % 100)])
    }

    package mutating func appendUnknownAttributes(_ types: [AttributeType]) {
        append(.unknownAttributes, types.flatMap { [UInt8($0.rawValue >> 8), UInt8(truncatingIfNeeded: $0.rawValue)] })
    }

    /// CHANGE-REQUEST (RFC 5780 section 7.2).
    package mutating func appendChangeRequest(address: Bool, port: Bool) {
        append(.changeRequest, [0, 0, 0, (address ? 4 : 0) | (port ? 2 : 0)])
    }

    /// Appends FINGERPRINT, which ends the message.
    package mutating func appendFingerprint() {
        writeLength(bytes.count - Message.headerSize + Fingerprint.attributeSize)
        let value = unsafe Fingerprint.value(of: bytes.span.bytes, count: bytes.count)
        append(.fingerprint, (0..<4).map { UInt8(truncatingIfNeeded: value >> (24 - 8 * $0)) })
    }

    private mutating func append(_ value: some FixedWidthInteger) {
        for shift in stride(from: value.bitWidth - 8, through: 0, by: -8) {
            bytes.append(UInt8(truncatingIfNeeded: value >> shift))
        }
    }

    private mutating func writeLength(_ length: Int) {
        bytes[2] = UInt8(truncatingIfNeeded: length >> 8)
        bytes[3] = UInt8(truncatingIfNeeded: length)
    }
}
