import Addressing
import Membership
import Sodium
import Synchronization
import Timing

@testable import Hub

/// A cluster whose pods a test makes and deletes; a token is a pod's uid.
final class TestReviewer: PodReviewer {
    struct Pod: Sendable {
        var uid: String
        var node: String
        var account = "default"
    }

    private let pods = Mutex<[String: Pod]>([:])
    private let isAway = Mutex(false)
    private let questions = Mutex(0)

    var asked: Int { questions.withLock { $0 } }

    /// - Parameter name: as NAMESPACE/POD.
    func set(_ name: String, _ pod: Pod?) { pods.withLock { $0[name] = pod } }
    func setAway(_ away: Bool) { isAway.withLock { $0 = away } }

    func review(_ token: [UInt8]) async throws(ReviewError) -> ReviewedPod {
        try answer()
        let uid = String(decoding: token, as: UTF8.self)
        guard let (name, pod) = pods.withLock({ $0.first { $0.value.uid == uid } }) else {
            throw .refused(.wrongAccount("it is none"))
        }
        let parts = name.split(separator: "/").map(String.init)
        guard
            let identity = PodIdentity(
                cluster: "eu-1", namespace: parts[0], serviceAccount: pod.account, pod: parts[1])
        else { throw .refused(.unusablePodName(name)) }
        return ReviewedPod(pod: LeasedPod(identity: identity, uid: uid, node: pod.node))
    }

    func isGone(_ pod: LeasedPod) async throws(ReviewError) -> Bool {
        try answer()
        let present = pods.withLock { $0["\(pod.identity.namespace)/\(pod.identity.pod)"] }
        return present?.uid != pod.uid
    }

    private func answer() throws(ReviewError) {
        questions.withLock { $0 += 1 }
        if isAway.withLock({ $0 }) { throw .later(TryLater(seconds: 7, reason: "away")) }
    }
}

/// A wall clock that a test sets.
final class TestClock: Sendable {
    private let time: Mutex<WallTime>

    init(_ start: WallTime) { time = Mutex(start) }

    var now: WallTime {
        get { time.withLock { $0 } }
        set { time.withLock { $0 = newValue } }
    }
}
