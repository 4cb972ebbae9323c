import Addressing
@testable import Directory
import Membership
import Sodium
import Synchronization
import Timing

@testable import BlockLeasing

/// An authority that answers as a test has written down, the last answer for ever; it counts the questions.
final class ScriptedAuthority: BlockAuthority {
    typealias Answer = Result<AuthorityClient.Leased, LeaseError>

    static let away = LeaseError.hub(.unreachable(HubAddress(host: "192.0.2.1", port: 7443)!, reason: "no route"))
    static let refusal = LeaseError.hub(.refused(.nameTaken, "another node has the name node-1"))
    static let start: Int64 = 1_800_000_000

    private let state: Mutex<(answers: [Answer], asked: Int)>
    private let reference: Result<AuthorityName, LeaseError>

    init(_ answers: [Answer], name: Result<AuthorityName, LeaseError> = .success(ScriptedAuthority.mesh("demo"))) {
        state = Mutex((answers, 0))
        reference = name
    }

    static func mesh(_ name: String) -> AuthorityName { AuthorityName(mesh: name, key: .zero) }

    /// A block as the hub gives it, until so many seconds after `start`.
    static func block(_ number: UInt16, until seconds: Int64 = NodeLease.lifetime) -> Answer {
        let plan = BlockPlan(ranges: [IPPrefix("fd12:3456:789a::/48")!, IPPrefix("100.64.0.0/10")!])!
        return .success(
            AuthorityClient.Leased(block: plan.block(number)!, expires: WallTime(seconds: start + seconds)))
    }

    var asked: Int { state.withLock { $0.asked } }

    func name() throws(LeaseError) -> AuthorityName { try reference.get() }

    func lease(to identity: Identity, name: String) async throws(LeaseError) -> AuthorityClient.Leased {
        let answer = state.withLock { state in
            state.asked += 1
            return state.answers.count > 1 ? state.answers.removeFirst() : state.answers[0]
        }
        return try answer.get()
    }
}

/// Time that passes only while somebody sleeps; ends the sleeper's task after some sleeps.
final class VirtualTime: Sendable {
    private let state: Mutex<(now: Int64, sleeps: [Int64], limit: Int)>

    init(at seconds: Int64 = ScriptedAuthority.start, sleeps limit: Int = .max) {
        state = Mutex((seconds, [], limit))
    }

    /// How long each sleep was.
    var sleeps: [Int64] { state.withLock { $0.sleeps } }

    var clock: LeaseKeeper.Clock {
        LeaseKeeper.Clock(
            now: { WallTime(seconds: self.state.withLock { $0.now }) },
            sleep: { until in
                try self.state.withLock { state in
                    guard state.sleeps.count < state.limit else { throw CancellationError() }
                    state.sleeps.append(until.seconds - state.now)
                    state.now = max(state.now, until.seconds)
                }
            })
    }
}
