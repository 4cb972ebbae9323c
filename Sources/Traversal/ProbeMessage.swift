package import Addressing

/// What is inside a sealed probe.
///
/// ```
/// ping  1, transaction (8), zeros to 28 bytes       an answer is never larger than its question
/// pong  2, transaction (8), the endpoint the ping was seen from (19)
/// call  3, flags (1: an answer is wanted), count (0…8), count candidates of 20 bytes
/// ```
package enum ProbeMessage: Equatable, Sendable {
    case ping(transaction: UInt64)
    case pong(transaction: UInt64, observed: Endpoint)
    case call(wantsAnswer: Bool, [Candidate])

    package static let maximumCandidates = 8
    static let pingSize = 28

    package func encode() -> [UInt8] {
        var bytes: [UInt8] = []
        switch self {
        case .ping(let transaction):
            bytes = [1] + Self.bytes(of: transaction)
            bytes += [UInt8](repeating: 0, count: Self.pingSize - bytes.count)
        case .pong(let transaction, let observed):
            bytes = [2] + Self.bytes(of: transaction)
            observed.encode(into: &bytes)
        case .call(let wantsAnswer, let candidates):
            bytes = [3, wantsAnswer ? 1 : 0, UInt8(min(candidates.count, Self.maximumCandidates))]
            for candidate in candidates.prefix(Self.maximumCandidates) { candidate.encode(into: &bytes) }
        }
        return bytes
    }

    /// Nil for anything that `encode` does not write. Candidates of an unknown kind or family are left out.
    package init?(decoding bytes: [UInt8]) {
        guard let kind = bytes.first else { return nil }
        switch kind {
        case 1 where bytes.count >= Self.pingSize:
            self = .ping(transaction: Self.number(bytes[1..<9]))
        case 2 where bytes.count >= 9 + Endpoint.wireSize:
            guard let observed = Endpoint(decoding: bytes[9...]) else { return nil }
            self = .pong(transaction: Self.number(bytes[1..<9]), observed: observed)
        case 3 where bytes.count >= 3:
            let count = Int(bytes[2])
            guard count <= Self.maximumCandidates, bytes.count >= 3 + count * Candidate.wireSize else { return nil }
            self = .call(
                wantsAnswer: bytes[1] & 1 == 1,
                (0..<count).compactMap { Candidate(decoding: bytes[(3 + $0 * Candidate.wireSize)...]) })
        default: return nil
        }
    }

    private static func bytes(of number: UInt64) -> [UInt8] {
        (0..<8).map { UInt8(truncatingIfNeeded: number >> UInt64(56 - 8 * $0)) }
    }

    private static func number(_ bytes: ArraySlice<UInt8>) -> UInt64 { bytes.reduce(0) { $0 << 8 | UInt64($1) } }
}
