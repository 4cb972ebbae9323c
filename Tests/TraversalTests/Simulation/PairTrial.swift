import Addressing
import Sodium
import TestSupport
import Timing

@testable import Traversal

/// Two agents that were started, know their NATs, and now meet.
struct PairTrial {
    let world: World
    let caller: SimulatedAgent
    let callee: SimulatedAgent
    /// Between the two, there and back.
    let roundTrip: Interval
    /// When both had heard each other's call.
    private(set) var signalled: MonotonicTime?

    /// Keys are made once: what they are does not matter here.
    static let keys: (SimulatedKeys) = SimulatedKeys()

    init(
        _ first: SimulatedAgent.Plan, _ second: SimulatedAgent.Plan, seed: UInt64, prepare: (World) -> Void = { _ in }
    ) throws {
        world = World(seed: seed)
        prepare(world)
        caller = try SimulatedAgent(world, first, key: Self.keys.first, seed: SeededRandom.hash(seed, 1))
        world.agents.append(caller)
        callee = try SimulatedAgent(world, second, key: Self.keys.second, seed: SeededRandom.hash(seed, 2))
        world.agents.append(callee)
        roundTrip = (first.access + second.access) * 2
        caller.start()
        callee.start()
    }

    /// - Parameter seed: the trial's: which of both calls is drawn from it.
    init(_ first: NATClass, _ second: NATClass, seed: UInt64, simple: Bool = false) throws {
        var random = SeededRandom(seed: seed)
        var plans = [first.plan(&random), second.plan(&random)]
        if random.chance(0.5) { plans.swapAt(0, 1) }
        if simple {
            for index in plans.indices { (plans[index].extraSockets, plans[index].allowsGuessing) = (0, false) }
        }
        let hops = Int(random.between(1, 8))
        try self.init(plans[0], plans[1], seed: random.next())
        world.weather.hops = hops
    }

    var isDirect: Bool {
        caller.paths[callee.id]?.isRelayed == false && callee.paths[caller.id]?.isRelayed == false
    }

    /// Time for both to learn how they are seen.
    func learnNetworks() { world.run(for: .milliseconds(2500)) }

    /// Whether both send to where the other one sends from.
    var isMirrored: Bool {
        let routes = [(caller, callee), (callee, caller)].map { $0.engine.peers[$1.id]?.direct?.route }
        guard let first = routes[0], let second = routes[1] else { return false }
        return caller.outside(first) == second.remote && callee.outside(second) == first.remote
    }

    /// Sends every 20 ms both ways from now on.
    func startTalking() {
        caller.startWork(to: callee.id)
        callee.startWork(to: caller.id)
    }

    /// Of what is sent both ways in this time while they talk; in the end they talk no more.
    func lostWhileTalking(for interval: Interval) -> Int {
        let before = (caller.sentSequence, callee.sentSequence)
        world.run(for: interval)
        (caller.workSpacing, callee.workSpacing) = (.zero, .zero)
        world.run(for: .seconds(1))
        let sent = caller.sentSequence - before.0 + callee.sentSequence - before.1
        return sent - callee.deliveries.count { $0.number > before.0 }
            - caller.deliveries.count { $0.number > before.1 }
    }

    /// The caller sends; returns when both are direct, or after `limit`. The result counts from when both had heard each
    /// other; nil when they stayed on the relay.
    mutating func meet(within limit: Interval = .seconds(20)) throws -> Interval? {
        let end = world.now + limit
        try caller.connect(to: callee)
        while world.now < end {
            world.run(for: .milliseconds(1))
            if signalled == nil, caller.engine.peers[callee.id]?.wasCalled == true,
                callee.engine.peers[caller.id]?.wasCalled == true
            {
                signalled = world.now
            }
            if isDirect { return signalled.map { world.now.since($0) } ?? .zero }
        }
        return nil
    }

    var sprayed: Int { max(caller.engine.sprayed, callee.engine.sprayed) }
}

/// Two key pairs for all trials.
final class SimulatedKeys: Sendable {
    let first: SecretKey
    let second: SecretKey

    init() {
        var random = SeededRandom(seed: 11)
        do {
            try Libsodium.initialize()
            first = try SecretKey(using: &random)
            second = try SecretKey(using: &random)
        } catch {
            preconditionFailure("no keys: \(error)")
        }
    }
}

/// How many trials: all in release, fewer in debug, or what `WARREN_TRIALS` says in percent.
enum Trials {
    static let percent: Int = {
        if let text = environment("WARREN_TRIALS"), let percent = Int(text) { return percent }
        #if DEBUG
            return 4
        #else
            return 100
        #endif
    }()

    static func of(_ count: Int) -> Int { max(count * percent / 100, min(count, 10)) }
}
