/// A population of endpoints (agents: cloud and Kubernetes 60%, home 30%, mobile 10%): how often each kind of NAT is met, in percent.
///
/// Published data is thin and old; the first two are composites of it and a judgement, the third judges nothing.
package struct Profile: Sendable {
    package let name: String
    package let weights: [(id: String, percent: Double)]

    package static let all = [
        Profile(
            name: "agents",
            weights: [
                ("open", 18), ("full-cone", 4), ("restricted", 4), ("port-restricted", 27), ("rewritten", 7),
                ("sequential", 3), ("symmetric", 22), ("block", 5), ("cgn", 5), ("udp-blocked", 5),
            ]),
        Profile(
            name: "home",
            weights: [
                ("open", 15), ("full-cone", 5), ("restricted", 5), ("port-restricted", 45), ("rewritten", 10),
                ("sequential", 3), ("symmetric", 6), ("block", 3), ("cgn", 5), ("udp-blocked", 3),
            ]),
        Profile(
            name: "uniform",
            weights: [
                ("open", 10), ("full-cone", 10), ("restricted", 10), ("port-restricted", 10), ("rewritten", 10),
                ("sequential", 10), ("symmetric", 10), ("block", 10), ("cgn", 10), ("udp-blocked", 10),
            ]),
    ]

    /// The share of pairs of two independent endpoints that are direct, by each of three judgements.
    package struct Shares: Sendable {
        /// In this run; nil when a class of the profile was not in it.
        package var measured: Double?
        /// By simultaneous open alone.
        package var simple: Double
        /// By everything that the pair table knows, where a birthday succeeds in 98.5% of trials.
        package var possible: Double
        /// Pairs in which an end has no UDP.
        package var blocked: Double
    }

    package func shares(in record: MatrixRecord) throws -> Shares {
        var shares = Shares(measured: 0, simple: 0, possible: 0, blocked: 0)
        for left in weights {
            for right in weights {
                let weight = left.percent * right.percent / 10_000
                let (a, b) = (try NATClass.named(left.id), try NATClass.named(right.id))
                if NATClass.isSimplyCrossed(a, b) { shares.simple += weight }
                switch NATClass.crossing(a, b) {
                case .simple, .simpleIfReused, .predicted: shares.possible += weight
                case .birthday, .twoSidedBirthday: shares.possible += 0.985 * weight
                case .relayed: break
                }
                if a.column == .blocked || b.column == .blocked { shares.blocked += weight }
                if let cell = record.cell(left.id, right.id), !cell.trials.isEmpty {
                    shares.measured? += weight * cell.directShare
                } else {
                    shares.measured = nil
                }
            }
        }
        return shares
    }
}
