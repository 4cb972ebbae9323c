import Testing

/// The share of pairs that is direct in three populations of endpoints.
@Suite struct ProfileTests {
    /// How many endpoints of a hundred are of a class (`NATClass.profile`'s order).
    private static let profiles: [(name: String, weights: [Double], least: Double)] = [
        ("agents", [18, 4, 4, 27, 7, 3, 22, 5, 5, 5], 0.81),
        ("home", [15, 5, 5, 45, 10, 3, 6, 3, 5, 3], 0.92),
        ("uniform", [10, 10, 10, 10, 10, 10, 10, 10, 10, 10], 0.75),
    ]

    @Test func `the weighted share of direct pairs reaches its bar in each profile`() throws {
        let cells = try Cell.table(NATClass.profile) { way in way == .relay ? 20 : 300 }
        let simple = try Cell.table(NATClass.profile, simple: true) { _ in 40 }
        for cell in cells where cell.way != .relay && cell.rate < 0.99 { print("profile cell:", cell.line) }
        for (name, weights, least) in Self.profiles {
            let share = Self.share(cells, weights)
            let blocked = weights[NATClass.profile.firstIndex(of: .blocked) ?? 0]
            print(
                "profile \(name): \(rounded(100 * share))% of pairs direct;",
                "simple punching \(rounded(100 * Self.share(simple, weights)))%;",
                "UDP blocked \(rounded(blocked))% of endpoints,",
                "\(rounded(100 * (1 - (1 - blocked / 100) * (1 - blocked / 100))))% of pairs;",
                "\(cells.reduce(0) { $0 + $1.trials }) and \(simple.reduce(0) { $0 + $1.trials }) trials")
            #expect(share >= least - (Trials.percent < 100 ? 0.02 : 0))
        }
    }

    /// For two endpoints drawn independently.
    private static func share(_ cells: [Cell], _ weights: [Double]) -> Double {
        let weight = Dictionary(uniqueKeysWithValues: zip(NATClass.profile, weights.map { $0 / 100 }))
        return cells.reduce(0) { sum, cell in
            let both = (weight[cell.first] ?? 0) * (weight[cell.second] ?? 0)
            return sum + cell.rate * both * (cell.first == cell.second ? 1 : 2)
        }
    }
}
