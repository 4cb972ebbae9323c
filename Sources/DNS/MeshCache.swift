package import Addressing
package import Timing

/// An agent that a mesh name leads to, by its verified record.
package struct MeshHost: Equatable, Sendable {
    package let name: String
    package let addresses: [IPAddress]
    /// Ports that it says it serves.
    package let services: [Port]

    package struct Port: Hashable, Sendable {
        package let service: MeshZone.Service
        package let number: UInt16

        package init(_ service: MeshZone.Service, number: UInt16) {
            self.service = service
            self.number = number
        }
    }

    package init(name: String, addresses: [IPAddress], services: [Port] = []) {
        self.name = name
        self.addresses = addresses
        self.services = services
    }
}

/// What a lookup came to.
package enum MeshOutcome: Equatable, Sendable {
    /// `until`: when the records behind it expire, and no later use of them is right.
    case hosts([MeshHost], until: MonotonicTime)
    /// The directory knows no such name.
    case nobody
    /// The directory can't be asked: nothing new is known.
    case failed
    /// What the directory said does not verify: no address is right, nor one from before.
    case invalid
}

/// Answers of the directory that are kept: fresh for a while, and stale ones for when it can't be asked (RFC 8767).
package struct MeshCache: Sendable {
    package static let entryLimit = 2048
    /// How long an answer is given without asking again.
    package static let freshTime = Interval.seconds(30)
    /// The same for "nobody": an agent that has just joined is to be found soon.
    package static let nobodyTime = Interval.seconds(2)
    /// How long "nobody" may stand in while the directory is away.
    package static let staleNobodyTime = Interval.seconds(3600)
    /// How long a failure is not tried again (RFC 9520 3.2).
    package static let failureTime = Interval.seconds(1)

    package enum Value: Equatable, Sendable {
        case hosts([MeshHost])
        case nobody
    }

    private struct Entry {
        var value: Value?
        var freshUntil: MonotonicTime
        var usableUntil: MonotonicTime
        var failedUntil: MonotonicTime
    }

    private var entries: [MeshKey: Entry] = [:]

    package init() {}

    package var count: Int { entries.count }

    package enum Found: Equatable, Sendable {
        case fresh(Value)
        /// To be asked again; the value, if there is one, is good enough when there is no answer.
        case due(stale: Value?)
        /// The last attempt has just failed.
        case failed(stale: Value?)
    }

    package func find(_ key: MeshKey, now: MonotonicTime) -> Found {
        guard let entry = entries[key] else { return .due(stale: nil) }
        let value = now < entry.usableUntil ? entry.value : nil
        if let value, now < entry.freshUntil { return .fresh(value) }
        return now < entry.failedUntil ? .failed(stale: value) : .due(stale: value)
    }

    package func isKept(_ key: MeshKey) -> Bool { entries[key]?.value != nil }

    package mutating func note(_ key: MeshKey, _ outcome: MeshOutcome, now: MonotonicTime) {
        var entry = entries[key] ?? Entry(value: nil, freshUntil: .zero, usableUntil: .zero, failedUntil: .zero)
        switch outcome {
        case .hosts(let hosts, let until):
            entry = Entry(
                value: .hosts(hosts), freshUntil: min(now + Self.freshTime, until), usableUntil: until,
                failedUntil: .zero)
        case .nobody:
            entry = Entry(
                value: .nobody, freshUntil: now + Self.nobodyTime, usableUntil: now + Self.staleNobodyTime,
                failedUntil: .zero)
        case .failed: entry.failedUntil = now + Self.failureTime
        case .invalid:
            entry = Entry(value: nil, freshUntil: .zero, usableUntil: .zero, failedUntil: now + Self.failureTime)
        }
        if entries[key] == nil, entries.count >= Self.entryLimit { makeRoom(now: now) }
        entries[key] = entry
    }

    /// Names that lead to nobody go first: whoever asks for many of them must not push out those that do. Much goes at
    /// once, so that this is seldom done.
    private mutating func makeRoom(now: MonotonicTime) {
        entries = entries.filter { _, entry in
            if case .hosts = entry.value { return now < entry.usableUntil }
            return now < entry.freshUntil
        }
        guard entries.count > Self.entryLimit * 3 / 4 else { return }
        entries = entries.filter { if case .hosts = $0.value.value { true } else { false } }
        guard entries.count > Self.entryLimit * 3 / 4 else { return }
        for key in Array(entries.keys.prefix(Self.entryLimit / 4)) { entries[key] = nil }
    }
}
