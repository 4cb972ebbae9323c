package import Addressing

/// What is inside a sealed probe. An answer is never larger than its question.
///
/// ```
/// ping      1, transaction (8), zeros to 28 bytes or more
/// pong      2, transaction (8), the endpoint that the ping was seen from (19)
/// call      3, see `Call`
/// keepalive 4, see `Keepalive`
/// ```
package enum ProbeMessage: Equatable, Sendable {
    /// Asks for a pong. `padding` bytes make it larger, to measure what a path carries.
    case ping(transaction: UInt64, padding: Int = 0)
    case pong(transaction: UInt64, observed: Endpoint)
    case call(Call)
    case keepalive(Keepalive)

    static let pingSize = 28

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
        case .keepalive(let keepalive):
            bytes.append(4)
            keepalive.encode(into: &bytes)
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
        case 4:
            guard let keepalive = Keepalive(decoding: rest) else { return nil }
            self = .keepalive(keepalive)
        default: return nil
        }
    }
}
