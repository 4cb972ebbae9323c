package import Addressing

/// What is inside a sealed probe. An answer is never larger than its question.
///
/// ```
/// ping      1, transaction (8), zeros to 28 bytes or more
/// pong      2, transaction (8), the endpoint that the ping was seen from (19)
/// call      3, see `Call`
/// remind    4, transaction (8), seconds (2), zeros to 88 bytes: it has two answers
/// keepalive 5, transaction (8): one way; that of a `remind` when it is what was asked for
/// ```
package enum ProbeMessage: Equatable, Sendable {
    /// Asks for a pong. `padding` bytes make it larger, to measure what a path carries.
    case ping(transaction: UInt64, padding: Int = 0)
    case pong(transaction: UInt64, observed: Endpoint)
    case call(Call)
    /// Asks for a pong now and for a keepalive after this many seconds, both to where this came from: to learn whether
    /// a binding outlives them.
    case remind(transaction: UInt64, seconds: UInt16)
    case keepalive(transaction: UInt64)

    static let pingSize = 28
    static let remindSize = 88

    package func encode() -> [UInt8] {
        var bytes: [UInt8] = []
        switch self {
        case .ping(let transaction, let padding):
            bytes.reserveCapacity(Self.pingSize + max(padding, 0))
            bytes.append(1)
            bytes.append(bigEndian: transaction)
            bytes.append(contentsOf: repeatElement(0, count: Self.pingSize - bytes.count + max(padding, 0)))
        case .pong(let transaction, let observed):
            bytes.append(2)
            bytes.append(bigEndian: transaction)
            observed.encode(into: &bytes)
        case .call(let call):
            bytes.append(3)
            call.encode(into: &bytes)
        case .remind(let transaction, let seconds):
            bytes.append(4)
            bytes.append(bigEndian: transaction)
            bytes.append(bigEndian: seconds)
            bytes.append(contentsOf: repeatElement(0, count: Self.remindSize - bytes.count))
        case .keepalive(let transaction):
            bytes.append(5)
            bytes.append(bigEndian: transaction)
        }
        return bytes
    }

    /// Nil for anything that `encode` does not write.
    package init?(decoding bytes: [UInt8]) {
        guard let kind = bytes.first else { return nil }
        let rest = bytes.dropFirst()
        switch kind {
        case 1 where bytes.count >= Self.pingSize:
            self = .ping(transaction: rest.bigEndian64(at: 0), padding: bytes.count - Self.pingSize)
        case 2 where bytes.count >= 9 + Endpoint.wireSize:
            guard let observed = Endpoint(decoding: bytes[9...]) else { return nil }
            self = .pong(transaction: rest.bigEndian64(at: 0), observed: observed)
        case 3:
            guard let call = Call(decoding: rest) else { return nil }
            self = .call(call)
        case 4 where bytes.count >= Self.remindSize:
            self = .remind(transaction: rest.bigEndian64(at: 0), seconds: rest.bigEndian16(at: 8))
        case 5 where bytes.count >= 9: self = .keepalive(transaction: rest.bigEndian64(at: 0))
        default: return nil
        }
    }
}
