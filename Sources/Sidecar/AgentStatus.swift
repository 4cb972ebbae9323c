import Membership
import Scrape
import Synchronization
import Timing

/// What the agent says about itself: written by the control tasks, read by the local API.
final class AgentStatus: Sendable {
    enum Hub: String, Sendable {
        case joining, accepted, unreachable
    }

    struct Snapshot: Sendable {
        var name = ""
        var hub = Hub.joining
        var hubDetail = ""
        var isAnnounced = false
        var waitingFor: [String]
        var mapped: [String] = []
        /// In the words of RFC 4787; empty while it is not known.
        var nat = ""
        var portMapped = ""
        var credential: Credential?
        var saidReady = false
        /// It is about to end.
        var isDraining = false
        /// From the process's start to when it was ready first, in seconds.
        var readyAfter: Double?

        var isReady: Bool { isAnnounced && waitingFor.isEmpty && !isDraining }
    }

    let identity: Identity
    let started = MonotonicTime.now()
    private let snapshot: Mutex<Snapshot>

    init(identity: Identity, requiredPeers: [String]) {
        self.identity = identity
        snapshot = Mutex(Snapshot(waitingFor: requiredPeers))
    }

    var now: Snapshot { snapshot.withLock { $0 } }

    /// Changes the state; true when the agent has become ready by it, the first time.
    @discardableResult
    func change(_ body: (inout sending Snapshot) -> Void) -> Bool {
        snapshot.withLock { state in
            body(&state)
            guard state.isReady, !state.saidReady else { return false }
            state.saidReady = true
            state.readyAfter = ProcessFigures.sinceStart
            return true
        }
    }
}
