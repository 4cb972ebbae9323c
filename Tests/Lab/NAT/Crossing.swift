/// How two NATs can be crossed, by the kinds of mapping and filtering on both sides.
package enum Crossing: Sendable, Equatable {
    /// Simultaneous open is enough.
    case simple
    /// Simultaneous open, where a NAT uses the binding that an inbound packet made for the answer too (conntrack does).
    case simpleIfReused
    /// The next outside address or port can be foreseen.
    case predicted
    /// One side opens many sockets, the other tries many ports.
    case birthday
    /// Both do, which pays where the ports are few.
    case twoSidedBirthday
    /// No way but the relay.
    case relayed

    /// As the tables print it.
    package var letter: String {
        switch self {
        case .simple: "S"
        case .simpleIfReused: "S†"
        case .predicted: "P"
        case .birthday: "B"
        case .twoSidedBirthday: "B2"
        case .relayed: "R"
        }
    }

    /// The share of trials that should end on a direct path; 0 for a pair that only a relay joins.
    package var bar: Double {
        switch self {
        case .simple, .simpleIfReused, .predicted: 0.99
        case .birthday, .twoSidedBirthday: 0.97
        case .relayed: 0
        }
    }

    package var isSimple: Bool { self == .simple || self == .simpleIfReused }
}

extension NATClass {
    /// A row of the pair table.
    package enum Column: Sendable, Hashable {
        case open, eif, adf, apdf, anyEIF, anyADF, sequential, random, blocked
        /// As `random` by IPv4; by IPv6 nothing is translated, and what comes unasked is dropped.
        case dual
        /// That many ports a customer.
        case block(Int)
        /// That many addresses, one of which is chosen for each destination; the port is kept.
        case pool(Int)

        var byIPv4: Column { self == .dual ? .random : self }
        /// An endpoint-independent mapping, or none at all.
        var isCone: Bool { [.open, .eif, .adf, .apdf].contains(self) }
        /// What an unknown sender's packet passes.
        var isUnfiltered: Bool { [.open, .eif, .anyEIF].contains(self) }
        var isPool: Bool {
            if case .pool = self { true } else { false }
        }
        /// Where the filter looks at addresses alone.
        var filtersByAddress: Bool { [.adf, .anyADF].contains(self) }
    }

    /// Beyond this product of both sides' port counts a birthday costs more than it is worth.
    static let largestBirthday = 1 << 20

    /// How the two can be crossed at best.
    package static func crossing(_ left: NATClass, _ right: NATClass) -> Crossing {
        if left.column == .dual, right.column == .dual { return .simple }
        let (a, b) = (left.column.byIPv4, right.column.byIPv4)
        if a == .blocked || b == .blocked { return .relayed }
        // An open end, or one that lets anybody in at an address that everybody sees.
        if a == .open || b == .open || a == .eif || b == .eif { return .simple }
        if a.isCone, b.isCone { return .simple }
        if a.isUnfiltered || b.isUnfiltered { return a == .adf || b == .adf ? .simple : .simpleIfReused }
        if a == .adf || b == .adf { return a.isPool || b.isPool ? .predicted : .simple }
        if a.isPool || b.isPool { return a == .apdf || b == .apdf || (a.isPool && b.isPool) ? .predicted : .relayed }
        if a.filtersByAddress || b.filtersByAddress { return .birthday }
        if a == .apdf || b == .apdf { return oneSided(a == .apdf ? b : a) }
        return twoSided(a, b)
    }

    private static func oneSided(_ hard: Column) -> Crossing {
        switch hard {
        case .sequential: .predicted
        default: .birthday
        }
    }

    private static func twoSided(_ a: Column, _ b: Column) -> Crossing {
        // Each probe of a sequential NAT moves its own next port on, so that no prediction survives a long spray.
        if (a == .sequential && b == .random) || (a == .random && b == .sequential) { return .relayed }
        if a == .sequential, b == .sequential { return .predicted }
        return guesses(a) * guesses(b) <= largestBirthday ? .twoSidedBirthday : .relayed
    }

    /// How many outside ports a hard NAT's next one is among.
    private static func guesses(_ column: Column) -> Int {
        switch column {
        case .sequential: 5
        case .block(let count): count
        default: 64512
        }
    }

    /// Whether simultaneous open alone, without prediction, spraying or openers, is expected to cross the pair.
    ///
    /// A poison-prone router keeps the binding that the other's early packet left, and gives the answer another port:
    /// that passes only a filter that does not look at ports.
    package static func isSimplyCrossed(_ left: NATClass, _ right: NATClass) -> Bool {
        guard crossing(left, right).isSimple else { return false }
        let pair = [left, right]
        for (one, other) in [(left, right), (right, left)] where one.id == "poison" {
            if other.column == .apdf { return false }
        }
        return !pair.contains { $0.column == .blocked }
    }
}
