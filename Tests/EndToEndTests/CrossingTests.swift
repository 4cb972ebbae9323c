import Lab
import Testing

/// The pair table, cell by cell, as the literature and our own measurements have it.
@Suite struct CrossingTests {
    private static let order = [
        "open", "full-cone", "restricted", "port-restricted", "symmetric-eif", "symmetric-adf", "sequential", "block",
        "symmetric", "udp-blocked",
    ]
    private static let table = [
        ["S", "S", "S", "S", "S", "S", "S", "S", "S", "R"],
        ["S", "S", "S", "S", "S", "S", "S", "S", "R"],
        ["S", "S", "S", "S", "S", "S", "S", "R"],
        ["S", "S†", "B", "P", "B", "B", "R"],
        ["S†", "S†", "S†", "S†", "S†", "R"],
        ["B", "B", "B", "B", "R"],
        ["P", "B2", "R", "R"],
        ["B2", "R", "R"],
        ["R", "R"],
        ["R"],
    ]

    @Test func `every cell is what the table says, in both directions`() throws {
        for (row, cells) in Self.table.enumerated() {
            for (offset, letter) in cells.enumerated() {
                let (a, b) = (try NATClass.named(Self.order[row]), try NATClass.named(Self.order[row + offset]))
                #expect(NATClass.crossing(a, b).letter == letter, "\(a.id) and \(b.id)")
                #expect(NATClass.crossing(b, a).letter == letter, "\(b.id) and \(a.id)")
                #expect(NATClass.isSimplyCrossed(a, b) == letter.hasPrefix("S"))
            }
        }
    }

    @Test func `simple punching and what is possible have the published shares`() throws {
        let record = MatrixRecord(classes: [], settings: .init(), trialsPerCell: 1, lanes: 1)
        for (profile, simple, possible, blocked) in [
            (Profile.all[0], 58, 82, 10), (Profile.all[1], 78, 93, 6), (Profile.all[2], 54, 76, 19),
        ] {
            let shares = try profile.shares(in: record)
            #expect(profile.weights.map(\.percent).reduce(0, +) == 100)
            #expect(Int((shares.simple * 100).rounded()) == simple, "\(profile.name)")
            #expect(Int((shares.possible * 100).rounded()) == possible, "\(profile.name)")
            #expect(Int((shares.blocked * 100).rounded()) == blocked, "\(profile.name)")
            #expect(shares.measured == nil)
        }
    }

    @Test func `a poison-prone router is not crossed simply where the other side looks at ports`() throws {
        let poison = try NATClass.named("poison")
        for (id, isSimple) in [("open", true), ("restricted", true), ("port-restricted", false), ("poison", false)] {
            #expect(NATClass.isSimplyCrossed(poison, try .named(id)) == isSimple, "\(id)")
            #expect(NATClass.crossing(poison, try .named(id)) == .simple)
        }
    }
}
