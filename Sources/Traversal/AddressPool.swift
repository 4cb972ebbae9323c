import Addressing

/// The addresses of a NAT of which only some were seen: as a rule those of a pool follow one another.
enum AddressPool {
    /// More than this between the lowest and the highest that were seen, and they do not.
    private static let widest: UInt32 = 16

    /// At most `limit` places that were not seen: between those that were, then on both sides of them.
    static func neighbours(of seen: [Endpoint], limit: Int) -> [Endpoint] {
        let values = seen.compactMap { endpoint -> UInt32? in
            if case .v4(let address) = endpoint.address { address.value } else { nil }
        }
        guard let first = seen.first, let low = values.min(), let high = values.max(), high - low < widest else {
            return []
        }
        var guesses = (low...high).filter { !values.contains($0) }
        for distance in 1...4 as ClosedRange<UInt32> { guesses += [low &- distance, high &+ distance] }
        return guesses.prefix(max(limit, 0)).map { Endpoint(.v4(IPv4Address(value: $0)), port: first.port) }
    }
}
