package import Addressing
package import Sodium
package import Timing

/// Proof that its holder received what the relay sent to an endpoint: nothing is kept to check it.
///
///     issued at (8, nanoseconds of the relay's clock) | MAC (16)
///
/// The MAC is keyed BLAKE2b over issued at, link (endpoint 18, stream 8) and agent id (16). The time orders registrations: only a
/// proof with a newer cookie replaces one.
package struct AddressCookie: Hashable, Sendable {
    package static let size = 24

    package let issued: MonotonicTime
    package let high: UInt64
    package let low: UInt64

    package init(issued: MonotonicTime, high: UInt64, low: UInt64) {
        self.issued = issued
        self.high = high
        self.low = low
    }

    init?(_ datagram: RawSpan, at offset: Int) {
        guard let issued = datagram.bigEndian(UInt64.self, at: offset),
            let high = datagram.bigEndian(UInt64.self, at: offset + 8),
            let low = datagram.bigEndian(UInt64.self, at: offset + 16)
        else { return nil }
        self.init(issued: MonotonicTime(nanoseconds: issued), high: high, low: low)
    }

    package var bytes: [UInt8] {
        Self.bytes(issued.nanoseconds) + Self.bytes(high) + Self.bytes(low)
    }

    func append(to builder: inout FrameBuilder) {
        builder.append(issued.nanoseconds)
        builder.append(high)
        builder.append(low)
    }

    fileprivate static func bytes(_ value: UInt64) -> [UInt8] {
        (0..<8).map { UInt8(truncatingIfNeeded: value >> (56 - 8 * UInt64($0))) }
    }
}

/// Makes and checks address cookies under a secret that changes every two minutes; the one before is still accepted.
package struct CookieIssuer: ~Copyable {
    package static let secretLifetime = Interval.seconds(120)

    private let lifetime: Interval
    private var current: SecretKey
    private var previous: SecretKey
    private var rotated: MonotonicTime

    /// Cookies are accepted for `lifetime`, which is at most that of a secret.
    package init(
        lifetime: Interval, now: MonotonicTime, using random: inout some RandomNumberGenerator
    ) throws(SodiumError) {
        let first = try SecretKey(using: &random)
        let second = try SecretKey(using: &random)
        self.lifetime = min(lifetime, Self.secretLifetime)
        current = first
        previous = second
        rotated = now
    }

    /// Changes the secret when it is time; the slot of the oldest is overwritten.
    package mutating func rotate(now: MonotonicTime, using random: inout some RandomNumberGenerator) {
        guard now.since(rotated) >= Self.secretLifetime else { return }
        swap(&current, &previous)
        unsafe current.withMutableBytes { bytes in
            for offset in stride(from: 0, to: 32, by: 8) {
                unsafe UnsafeMutableRawPointer(bytes).storeBytes(
                    of: random.next(), toByteOffset: offset, as: UInt64.self)
            }
        }
        rotated = now
    }

    package func issue(to source: RelayLink, agent: AgentID, now: MonotonicTime) -> AddressCookie {
        Self.cookie(issued: now, source, agent, key: current)
    }

    package enum Verdict: Sendable {
        case valid
        /// From another relay, for another link or id, or made up.
        case foreign
        case expired
    }

    package func verify(
        _ cookie: AddressCookie, from source: RelayLink, agent: AgentID, now: MonotonicTime
    ) -> Verdict {
        guard cookie.issued <= now else { return .foreign }
        guard now.since(cookie.issued) <= lifetime else { return .expired }
        let isValid =
            Self.isEqual(cookie, Self.cookie(issued: cookie.issued, source, agent, key: current))
            || Self.isEqual(cookie, Self.cookie(issued: cookie.issued, source, agent, key: previous))
        return isValid ? .valid : .foreign
    }

    private static func isEqual(_ left: AddressCookie, _ right: AddressCookie) -> Bool {
        // Without a branch on the first difference, so that a MAC can't be guessed byte by byte.
        (left.high ^ right.high) | (left.low ^ right.low) == 0
    }

    private static func cookie(
        issued: MonotonicTime, _ source: RelayLink, _ agent: AgentID, key: borrowing SecretKey
    ) -> AddressCookie {
        let message = AddressCookie.bytes(issued.nanoseconds) + source.bytes + agent.bytes
        let mac = Blake2b.hash(message, key: key, size: 16)
        let words = mac.reduce(into: (UInt64(0), UInt64(0))) { words, byte in
            words = (words.0 << 8 | words.1 >> 56, words.1 << 8 | UInt64(byte))
        }
        return AddressCookie(issued: issued, high: words.0, low: words.1)
    }
}
