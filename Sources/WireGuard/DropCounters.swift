import Synchronization

/// Why a packet went no further. Faults are counted, never logged one by one.
package enum DropReason: UInt8, CaseIterable, Sendable {
    /// Not one of the four messages, by type or length.
    case malformedMessage
    /// The device has no private key yet.
    case noPrivateKey
    /// Made for another public key than ours.
    case invalidMAC1
    /// Under load, without proof of its address: a cookie was sent instead.
    case cookieRequired
    /// Under load, from a source that asked too often.
    case rateLimited
    /// A handshake message that does not decrypt.
    case invalidHandshake
    /// An initiation by a static key that is not a peer's.
    case unknownPeer
    /// An initiation that is not newer than the last.
    case replayedInitiation
    /// Two initiations of one peer within 20 ms.
    case initiationFlood
    /// A response to no initiation of ours.
    case unexpectedResponse
    case invalidCookieReply
    /// Transport data with an index of no session.
    case unknownReceiver
    /// Transport data for a session older than rejectAfterTime.
    case expiredKeypair
    /// Transport data that does not decrypt.
    case invalidTransport
    /// Transport data with a counter that was seen, is too old or too great.
    case replayedCounter
    /// An inner packet that is not IPv4 or IPv6, or is longer than what carries it.
    case malformedInnerPacket
    /// An inner packet from an address that its sender may not use.
    case disallowedSource
    /// An inner packet to an address that no peer has.
    case noAllowedIP
    /// A packet or message to a peer that no path is known to.
    case noPath
    /// The oldest of more than 128 packets that wait for a handshake.
    case queueOverflow
    /// Packets that waited for a handshake that was given up.
    case handshakeGivenUp
    /// A large TCP packet that was dropped because datagrams wait for too long: its sender is to send less.
    case queueDelay
    /// The caller's buffer is too small for the sealed packet.
    case bufferTooSmall
    /// No memory for another secret.
    case outOfMemory
}

/// How often packet threads met each reason. Safe from any thread.
@safe package final class SharedDropCounters: @unchecked Sendable {
    // Safe: 32 counters, initialised here and freed in deinit.
    private let counters: UnsafeMutablePointer<Atomic<UInt64>>

    init() {
        unsafe counters = .allocate(capacity: 32)
        for index in 0..<32 { unsafe (counters + index).initialize(to: Atomic(0)) }
    }

    deinit {
        unsafe counters.deinitialize(count: 32)
        unsafe counters.deallocate()
    }

    package func count(_ reason: DropReason) {
        unsafe counters[Int(reason.rawValue & 31)].wrappingAdd(1, ordering: .relaxed)
    }

    package subscript(reason: DropReason) -> UInt64 {
        unsafe counters[Int(reason.rawValue & 31)].load(ordering: .relaxed)
    }
}

/// How often each reason was met. The zero value has met none.
package struct DropCounters: Sendable {
    private var counts: [32 of UInt64] = .init(repeating: 0)

    package init() {}

    package internal(set) subscript(reason: DropReason) -> UInt64 {
        get { counts[Int(reason.rawValue)] }
        set { counts[Int(reason.rawValue)] = newValue }
    }

    package var total: UInt64 { DropReason.allCases.reduce(0) { $0 + self[$1] } }
}
