package import Timing

/// The sessions with a peer, and which of them seals (WireGuard paper 6.3).
///
/// When both ends initiate at once there are two new sessions, and each end seals with its own until the next rekey. The
/// paper's single previous session is then not always the one that the other end still seals with, so up to three are kept
/// that still may open. With a rekey every 120 s that is one, as in the paper: older ones are past rejectAfterTime.
package struct Keypairs {
    package static let previousLimit = 3

    /// Seals, and opens.
    package private(set) var current: Keypair?

    /// We answered for it, and the peer has not used it yet: opens.
    package private(set) var next: Keypair?
    /// Those before, which open until they are too old, the latest first.
    package private(set) var previous: [Keypair] = []

    package init() {}

    /// Takes in a session that we initiated, which is confirmed by the response. Returns those that end.
    package mutating func add(initiated keypair: Keypair, now: MonotonicTime) -> [Keypair] {
        retire(current)
        // An initiation of theirs has crossed with ours: its session may be in use from now on.
        retire(next)
        next = nil
        current = keypair
        return trim(now)
    }

    /// Takes in a session that we answered for: its initiator must use it first. Returns those that end.
    package mutating func add(answered keypair: Keypair) -> [Keypair] {
        let ended = next
        next = keypair
        return [ended].compactMap { $0 }
    }

    /// Makes `next`, which a packet has come for, the current one. Returns those that end.
    package mutating func confirmNext(now: MonotonicTime) -> [Keypair] {
        retire(current)
        (current, next) = (next, nil)
        return trim(now)
    }

    package var all: [Keypair] { [current, next].compactMap { $0 } + previous }

    private mutating func retire(_ keypair: Keypair?) {
        if let keypair { previous.insert(keypair, at: 0) }
    }

    private mutating func trim(_ now: MonotonicTime) -> [Keypair] {
        let kept = Array(previous.filter { $0.canReceive(now) }.prefix(Self.previousLimit))
        defer { previous = kept }
        return previous.filter { keypair in !kept.contains { $0 === keypair } }
    }
}
