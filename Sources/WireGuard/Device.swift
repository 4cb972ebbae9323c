import Addressing
import Noise
package import Sodium
import Timing

/// A WireGuard interface without its sockets, clocks and threads: packets, datagrams and times come in as parameters, and
/// what is to be sent and what happened goes out (WireGuard paper 5 and 6).
///
/// After each call take the outputs where `hasOutputs`, and call `tick` at `nextDeadline`. `now` must not go back between
/// calls. Without a private key it does nothing. Owned by one thread at a time.
@safe package struct Device: ~Copyable, @unchecked Sendable {
    // Safe: owns all that it points to; the generator is only used through exclusive access to the device.

    /// Who decides where a peer's packets go.
    package enum Roaming: Sendable {
        /// A peer's path is where its last authenticated packet came from, as in every WireGuard.
        case follow
        /// Only the caller sets paths; responses to initiations still go where those came from.
        case caller
    }

    package struct Configuration: Sendable {
        package var roaming = Roaming.follow
        /// Inner packets are padded to a multiple of 16 bytes, but not beyond this. In bytes.
        package var mtu = 1420
        /// The largest inner packet that a new peer's path carries, until `setPathLimit` says otherwise. In bytes.
        package var pathLimit = Int.max
        /// More handshake messages a second than this, after a burst of that many, are "load": cookies are asked for.
        package var handshakesPerSecond = 500
        package var handshakeBurst = 128
        /// Sends an initiation that nothing came of again, byte for byte, a few times within the 5 s until there is a new one,
        /// and its response to who sends it so: both ends have to. Where packets get lost a session is there at once, not
        /// after 5 s, and nobody but the two can make either send more.
        package var repeatsHandshakes = false

        package init() {}
    }

    /// What the prologue of every handshake is.
    static let identifier = Array("WireGuard v1 zx2c4 Jason@zx2c4.com".utf8)
    /// Initiations of one peer come at least so far apart.
    static var initiationInterval: Interval { .milliseconds(20) }

    package var configuration: Configuration {
        didSet {
            plane.mtu = configuration.mtu
            plane.follows = configuration.roaming == .follow
        }
    }
    /// What moves packets on other threads, with what is published here.
    package let plane = PacketPlane()
    /// How often packets were dropped, by reason, by the device itself.
    var ownDrops = DropCounters()
    /// Whether the routes have changed since they were last published.
    var routesAreStale = false

    /// The device's public key; nil without a private one.
    package internal(set) var publicKey: PublicKey?
    var localKey: StaticKey?
    var checker: CookieChecker?
    var peers = PeerTable()
    var slots: [PublicKey: Int32] = [:]
    var allowedIPs = AllowedIPs()
    var indices = IndexTable()
    var schedule = Schedule()
    var limiter = RateLimiter()
    var load: LoadMeter
    var outputs: [Output] = []
    var events: [Event] = []
    var random: any RandomNumberGenerator & Sendable
    private var jitterState: UInt64

    /// A device without peers. `random` makes all keys and indices: `SecureRandom`, or a seeded one in tests.
    package init(
        privateKey: consuming SecretKey? = nil, random: some RandomNumberGenerator & Sendable,
        configuration: Configuration = Configuration()
    ) {
        var random = random
        jitterState = random.next()
        self.random = random
        self.configuration = configuration
        plane.mtu = configuration.mtu
        plane.follows = configuration.roaming == .follow
        load = LoadMeter(perSecond: configuration.handshakesPerSecond, burst: configuration.handshakeBurst)
        localKey = nil
        checker = nil
        setPrivateKey(privateKey)
    }

    // MARK: What goes out

    /// Whether there is something to take with `drainOutputs`.
    package var hasOutputs: Bool { !outputs.isEmpty }

    /// Takes the messages that are to be sent, oldest first.
    package mutating func drainOutputs() -> [Output] {
        defer { outputs.removeAll(keepingCapacity: true) }
        return outputs
    }

    package var hasEvents: Bool { !events.isEmpty }

    /// Takes what happened since the last call, oldest first.
    package mutating func drainEvents() -> [Event] {
        defer { events.removeAll(keepingCapacity: true) }
        return events
    }

    // MARK: Shared parts

    /// How often packets were dropped, by reason, on whatever thread.
    package var drops: DropCounters {
        var all = ownDrops
        for reason in DropReason.allCases { all[reason] += plane.drops[reason] }
        return all
    }

    mutating func count(_ reason: DropReason) { ownDrops[reason] += 1 }

    /// Hands a message for a peer to the caller, or counts it where there is no path.
    mutating func emit(_ bytes: [UInt8], _ kind: Output.Kind, to peer: inout Peer, on path: Path?) {
        guard let path else {
            count(.noPath)
            return
        }
        outputs.append(Output(peer: peer.id, path: path, bytes: bytes, kind: kind))
    }

    /// A random time up to 333 ms, so that two ends do not keep asking at once. Not from `random`: it is no secret and
    /// is wanted for many packets.
    mutating func jitter() -> Interval {
        jitterState &+= 0x9e37_79b9_7f4a_7c15
        return Timers.jitter(jitterState)
    }

    /// Looks at the peer's timers in time.
    mutating func reschedule(_ peer: inout Peer) {
        let earliest = peer.timers.earliest(peer.link)
        if earliest < peer.scheduled {
            peer.scheduled = earliest
            schedule.set(peer.id.index, to: earliest)
        }
    }

    /// Erases a session that ended, once no packet thread looks at it any more.
    mutating func forget(_ keypair: Keypair) {
        indices.remove(keypair.localIndex)
        plane.sessions.remove(keypair.localIndex)
        plane.reclaimer.retire(keypair)
    }

    /// Takes in a session.
    mutating func remember(_ keypair: Keypair) { plane.sessions.insert(keypair) }

    /// Tells packet threads what the peer's packets are sealed with and where they go. After each change of either.
    mutating func publish(_ peer: inout Peer) {
        guard let keypair = peer.keypairs.current, let path = peer.path else {
            if peer.link.outlet.value() != nil { peer.link.outlet.publish(nil, plane.reclaimer) }
            return
        }
        if let now = peer.link.outlet.value(), now.keypair === keypair, now.path == path, now.limit == peer.pathLimit {
            return
        }
        peer.link.outlet.publish(Outlet(keypair: keypair, path: path, limit: peer.pathLimit), plane.reclaimer)
        if peer.link.roamed.value() != nil { peer.link.roamed.publish(nil, plane.reclaimer) }
    }

    /// Tells packet threads of changed allowed IPs. After changes, before packets.
    package mutating func publishRoutes() {
        guard routesAreStale else { return }
        routesAreStale = false
        var links = [PeerLink?](repeating: nil, count: Int(peers.slots.last ?? -1) + 1)
        for slot in peers.slots { unsafe links[Int(slot)] = peers.pointer(slot).pointee.link }
        plane.routes.publish(Routes(allowedIPs, links: links), plane.reclaimer)
    }

    /// Erases our unanswered initiation.
    mutating func forgetInitiation(of peer: inout Peer) {
        guard let index = peer.initiation?.index else { return }
        indices.remove(index)
        peer.initiation = nil
    }

    /// Erases all sessions and the unanswered initiation.
    mutating func forgetKeys(of peer: inout Peer) {
        forgetInitiation(of: &peer)
        peer.answer = nil
        let ended = peer.keypairs.all
        peer.keypairs = Keypairs()
        publish(&peer)
        for keypair in ended { forget(keypair) }
    }
}
