/// Why a relay, or a client of one, did not serve a datagram.
package enum DropReason: Int, CaseIterable, Hashable, Sendable {
    case empty, truncated, unknownType, unknownVersion
    /// A type that only the other end sends.
    case unexpectedType
    /// Neither STUN nor one of ours: WireGuard's messages reach a relay only inside relay data.
    case wireGuard, foreign
    /// What the binding server dropped; it counts its own reasons.
    case stun
    case foreignCookie, expiredCookie, foreignIdentity, badSignature, badCredential
    /// A proof older than the registration that is there: replayed or overtaken.
    case staleProof
    case tableFull
    case notRegistered, staleEpoch, foreignAgent, unknownDestination
    case sourceRateLimited, proofRateLimited, pingRateLimited, packetRateLimited, byteRateLimited
    /// At a client: not from the relay's endpoint, or not an answer to what was asked.
    case foreignSource, unsolicited
}

/// How many datagrams were dropped or refused, for each reason.
package struct DropCounters: Sendable {
    private var counts = [UInt64](repeating: 0, count: DropReason.allCases.count)

    package init() {}

    package subscript(reason: DropReason) -> UInt64 { counts[reason.rawValue] }

    mutating func count(_ reason: DropReason) { counts[reason.rawValue] += 1 }
}

/// What a relay did, since its start.
package struct RelayCounters: Sendable {
    package internal(set) var forwardedPackets: UInt64 = 0
    package internal(set) var forwardedBytes: UInt64 = 0
    package internal(set) var replies: UInt64 = 0
    /// Proofs that were accepted and changed something.
    package internal(set) var registrations: UInt64 = 0
    package internal(set) var expirations: UInt64 = 0
    package internal(set) var drops = DropCounters()

    package init() {}

    package subscript(reason: DropReason) -> UInt64 { drops[reason] }
}
