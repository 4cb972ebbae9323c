import Addressing
import Sodium
import TestSupport
import Timing

@testable import Traversal

/// One engine, and peers of it that hold proper keys but say what they like.
struct HostileBench: ~Copyable {
    struct Sent {
        let at: MonotonicTime
        let size: Int
        let route: Route
    }

    let id = AgentID(high: 1, low: 1)
    var engine: Engine
    var now = MonotonicTime(nanoseconds: 1_000_000_000_000)
    private(set) var sent: [Sent] = []
    private(set) var relayed: [[UInt8]] = []
    private(set) var openSockets: Set<SocketID> = []
    private(set) var mostSockets = 0
    private var seals: [ProbeSealBox] = []
    private(set) var peerIDs: [AgentID] = []

    final class ProbeSealBox {
        var seal: ProbeSeal
        init(_ seal: consuming ProbeSeal) { self.seal = seal }
    }

    /// - Parameter behavior: what our NAT is like.
    init(
        peers: Int = 1, behavior: NATBehavior = NATBehavior(.endpointIndependent, .addressAndPortDependent, .preserving)
    )
        throws
    {
        try Libsodium.initialize()
        var configuration = Engine.Configuration(
            policy: TargetPolicy(meshRanges: [IPPrefix("fd77::/48")].compactMap { $0 }))
        configuration.extraSockets = 264
        var engine = Engine(localID: id, configuration, random: SeededRandom(seed: 3), now: now)
        engine.behavior = behavior
        engine.setLocalCandidates([Candidate(.host, Self.place(1, port: 9999))], now: now)
        engine.observed(Self.place(2, port: 9999), by: Self.place(3, port: 443), now: now)
        let keys = PairTrial.keys
        let (own, others) = (X25519.publicKey(of: keys.first), X25519.publicKey(of: keys.second))
        for number in 0..<peers {
            let peer = AgentID(high: 2, low: UInt64(number))
            do {
                try engine.addPeer(
                    peer, localKey: keys.first, remoteKey: others, epoch: 1, relays: [.relayed(relay: 0, peer)],
                    now: now)
                let seal = try ProbeSeal(
                    localID: peer, localKey: keys.second, remoteID: id, remoteKey: own, epoch: 1)
                seals.append(ProbeSealBox(seal))
            } catch { preconditionFailure("no keys: \(error)") }
            peerIDs.append(peer)
        }
        self.engine = engine
        settle()
        sent = []
    }

    static func place(_ number: Int, port: UInt16) -> Endpoint {
        Endpoint(.v4(IPv4Address(192, 0, UInt8(number / 200), UInt8(number % 200 + 1))), port: port)
    }

    func seal(_ message: ProbeMessage, peer: Int = 0) -> [UInt8] { seals[peer].seal.seal(message) }

    mutating func call(_ call: Call, peer: Int = 0) {
        engine.receive(seal(.call(call), peer: peer), from: .relayed(relay: 0, peerIDs[peer]), now: now)
        settle()
    }

    mutating func receive(_ datagram: [UInt8], on socket: SocketID = .homeIPv4, from source: Endpoint) {
        engine.receive(datagram, on: socket, from: source, now: now)
        settle()
    }

    /// The peer names one place and answers what is sent there, once.
    mutating func becomeDirect(at place: Endpoint, _ template: Call) throws {
        var call = template
        call.candidates = [Candidate(.host, place)]
        self.call(call)
        guard let transaction = engine.peers[peerIDs[0]]?.pings.last?.transaction else { throw NoPing() }
        receive(seal(.pong(transaction: transaction, observed: Self.place(2, port: 9999))), from: place)
    }

    struct NoPing: Error {}

    mutating func run(for interval: Interval) {
        let end = now + interval
        while engine.nextDeadline <= end {
            now = max(now, engine.nextDeadline)
            settle()
        }
        now = end
    }

    mutating func forgetSent() {
        sent = []
        relayed = []
    }

    mutating func settle() {
        engine.tick(now: now)
        while true {
            let actions = engine.takeActions()
            if actions.isEmpty { return }
            for action in actions {
                switch action {
                case .send(let bytes, let route, _): sent.append(Sent(at: now, size: bytes.count, route: route))
                case .sendRelayed(let bytes, _): relayed.append(bytes)
                case .signal, .setPath, .setPathLimit: break
                case .open(let socket):
                    openSockets.insert(socket)
                    mostSockets = max(mostSockets, openSockets.count)
                case .adopt(let socket, _): engine.adopted(socket, as: 2, now: now)
                case .close(let socket): openSockets.remove(socket)
                }
            }
        }
    }
}
