package import Addressing
package import Timing

/// A message for the caller to send.
package struct Output: Sendable {
    package enum Kind: Sendable { case initiation, response, cookieReply, keepalive, data }

    /// Nil for a cookie reply: who asked is not known yet.
    package let peer: PeerID?
    package let path: Path
    package let bytes: [UInt8]
    package let kind: Kind
}

/// What happened to a peer, for the caller to act on or show.
package enum Event: Hashable, Sendable {
    /// The first initiation of an attempt was sent.
    case handshakeStarted(PeerID)
    /// A session is confirmed: packets flow.
    case handshakeCompleted(PeerID, asInitiator: Bool)
    /// No answer for 90 s: packets that waited are dropped.
    case handshakeFailed(PeerID)
    /// All keys of the peer were erased, 540 s after its last session began.
    case keysExpired(PeerID)
}

/// What became of a packet for the tunnel.
package enum Encapsulated: Hashable, Sendable {
    /// Sealed: `length` bytes to send on the path.
    case sealed(PeerID, Path, length: Int)
    /// It waits for a handshake; see the outputs.
    case queued(PeerID)
    /// Larger than the peer's path carries, in bytes.
    case tooLarge(limit: Int)
    case dropped(DropReason)
}

/// What a datagram was.
package enum Decapsulated: Hashable, Sendable {
    /// An authenticated packet; the inner one is in this range of the datagram.
    case packet(PeerID, Range<Int>)
    /// An authenticated empty packet.
    case keepalive(PeerID)
    /// An authenticated initiation or response.
    case handshake(PeerID, MessageType)
    /// A cookie: from somebody who saw our last handshake message. Says nothing about the path.
    case cookie(PeerID)
    case dropped(DropReason)

    /// The peer that is proven to have sent it, from the path that it came on.
    package var authenticatedPeer: PeerID? {
        switch self {
        case .packet(let peer, _), .keepalive(let peer), .handshake(let peer, _): peer
        case .cookie, .dropped: nil
        }
    }
}

/// What `wg show` tells of a peer, without its preshared key.
package struct PeerSnapshot: Sendable {
    package let id: PeerID
    package let publicKey: PublicKey
    package let hasPresharedKey: Bool
    package let path: Path?
    package let allowedIPs: [IPPrefix]
    /// Bytes of all authenticated messages that were received and sent, as datagrams.
    package let receivedBytes: UInt64
    package let sentBytes: UInt64
    /// When the last session was confirmed.
    package let lastHandshake: WallTime?
    /// In seconds; 0 when off.
    package let persistentKeepalive: UInt16
    /// Whether packets can be sealed now.
    package let hasSession: Bool
}
