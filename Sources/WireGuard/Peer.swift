import Addressing
import Noise
package import Sodium
import Timing

/// A peer's long-lived public key.
package typealias PublicKey = X25519.PublicKey

/// Names a peer of one device: a small number and how often it was given out before.
package struct PeerID: Hashable, Sendable {
    /// From 0, fit to index the caller's own table.
    package let index: Int32
    package let generation: UInt32

    package init(index: Int32, generation: UInt32) {
        self.index = index
        self.generation = generation
    }
}

/// All that is known of a peer: configuration, handshake, sessions, timers and packets that wait.
struct Peer: ~Copyable {
    let id: PeerID
    let publicKey: PublicKey
    /// What packet threads see of it, and tell of its packets.
    let link: PeerLink
    /// The shared secret of both static keys; nil without a private key, or for a public key that nobody can own.
    var staticStatic: SecretKey?
    /// Zero when there is none.
    var presharedKey: SecretKey
    var path: Path?
    /// The largest inner packet that the path carries, in bytes.
    var pathLimit: Int

    /// Our initiation that was not answered yet.
    var initiation: PendingInitiation?
    /// Our response whose session the peer has not used yet, where it may be repeated.
    var answer: Answer?
    var keypairs = Keypairs()
    /// The greatest stamp of an initiation by the peer: an older or equal one is a replay.
    var greatestTimestamp = TAI64N.zero
    /// The stamp of our last initiation.
    var sentTimestamp = TAI64N.zero
    var initiationConsumed: MonotonicTime?

    var cookies: CookieGenerator
    var timers: Timers
    /// When the device will look at the timers.
    var scheduled = MonotonicTime.never
    var queue = PacketQueue()

    var lastHandshake: WallTime?

    init(
        id: PeerID, publicKey: PublicKey, presharedKey: consuming SecretKey, pathLimit: Int, jitterSeed: UInt64
    ) {
        self.id = id
        self.pathLimit = pathLimit
        link = PeerLink(id: id)
        timers = Timers(jitterSeed: jitterSeed)
        self.publicKey = publicKey
        self.presharedKey = presharedKey
        cookies = CookieGenerator(publicKey)
    }

    /// The keys that `response` to our initiation, which there is, makes.
    func finishInitiation(response: RawSpan, local: borrowing StaticKey) throws(NoiseError) -> TransportKeys {
        switch initiation {
        case .some(let initiation):
            var payload: [UInt8] = []
            return try initiation.state.finish(
                response: response, local: local, presharedKey: presharedKey, payload: &payload)
        case .none: throw .authentication
        }
    }
}

/// An initiation of ours that waits for its response.
struct PendingInitiation: ~Copyable {
    let index: UInt32
    let state: HandshakeState.Initiator
    /// As it was sent.
    var message: [UInt8] = []
}

/// A response of ours.
struct Answer {
    /// The index that the initiation came with.
    let receiver: UInt32
    /// As it was sent.
    let message: [UInt8]
    var repetitions = 0
}

/// Packets that wait for a session, at most 128: then the oldest goes.
struct PacketQueue {
    static let limit = 128

    private var packets: [[UInt8]] = []

    var count: Int { packets.count }
    var isEmpty: Bool { packets.isEmpty }

    /// Copies `packet`; false when another had to go for it.
    mutating func append(_ packet: UnsafeRawBufferPointer) -> Bool {
        let isFull = packets.count == Self.limit
        if isFull { packets.removeFirst() }
        unsafe packets.append(Array(packet))
        return !isFull
    }

    /// All packets, oldest first; none are left.
    mutating func takeAll() -> [[UInt8]] {
        defer { packets = [] }
        return packets
    }
}
