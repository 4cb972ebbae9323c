import CNI
import Glibc
import Linux
import Timing

/// The agent's thread for pods: it takes the plugin's notices, keeps a socket in each pod that has an attachment, and answers
/// those who ask there.
///
/// The records are the truth and a notice only makes it known sooner: sockets are made for all records at the start and every
/// two seconds after it, and closed when a record or its namespace is gone.
final class HandoverServer: Sendable {
    private static let scanInterval = Interval.seconds(2)
    private static let stopToken: UInt64 = 0
    private static let noticeToken: UInt64 = 1

    private let configuration: NodeConfiguration
    private let status: NodeStatus
    private let log: NodeLog
    private let withdraw: @Sendable () throws -> Void
    private let stopping: EventFD
    private let notices: PacketSocket

    /// Listens for notices from now on; `run` answers them.
    ///
    /// - Parameter withdraw: takes the plugin's entry out of the configuration.
    init(
        _ configuration: NodeConfiguration, _ status: NodeStatus, _ log: NodeLog,
        withdraw: @escaping @Sendable () throws -> Void
    ) throws(SystemError) {
        self.configuration = configuration
        self.status = status
        self.log = log
        self.withdraw = withdraw
        try configuration.makeStateFolder()
        let stopping = try EventFD()
        notices = try PacketSocket.listen(at: .path(configuration.agentSocket), mode: 0o600, backlog: 128)
        self.stopping = stopping
    }

    /// Ends `run`. Safe from any thread.
    func stop() { stopping.signal() }

    /// Serves until `stop`. The agent's own socket is removed then; those in pods go with this value.
    func run() throws(SystemError) {
        let epoll = try Epoll()
        try epoll.add(stopping.raw, .read, token: Self.stopToken)
        try epoll.add(notices.raw, .read, token: Self.noticeToken)
        defer { _ = unsafe unlink(configuration.agentSocket) }
        var pods = PodSockets(configuration)
        var nextScan = MonotonicTime.now()
        while true {
            if MonotonicTime.now() >= nextScan {
                scan(&pods, epoll)
                nextScan = MonotonicTime.now() + Self.scanInterval
            }
            for event in try epoll.wait(timeout: nextScan.since(.now())) {
                switch event.token {
                case Self.stopToken: return
                case Self.noticeToken: answerNotices(&pods, epoll)
                case let token: if let pod = pods[token] { answer(pod) }
                }
            }
        }
    }

    private func scan(_ pods: inout PodSockets, _ epoll: borrowing Epoll) {
        let changes = pods.scan(now: .now())
        for (token, pod) in changes.opened { register(pod, token, epoll) }
        for fault in changes.faults { log("\(fault)") }
        publish(pods)
    }

    private func register(_ pod: PodSocket, _ token: UInt64, _ epoll: borrowing Epoll) {
        // Closing the socket takes it out of the epoll again: nobody else holds a copy.
        do { try epoll.add(pod.raw, .read, token: token) } catch { log("wait for \(pod.record.subject): \(error)") }
    }

    private func publish(_ pods: PodSockets) {
        let (count, occupied, attachments) = (pods.count, pods.occupied, pods.attachments)
        status.change {
            $0.podSockets = count
            $0.occupied = occupied
            $0.attachments = attachments
        }
    }

    /// Some at a time: other pods' turn comes between.
    private func answer(_ pod: PodSocket) {
        for _ in 0..<8 {
            guard let (outcome, detail) = pod.answer(now: .now()) else { return }
            status.change { $0.handovers[outcome, default: 0] += 1 }
            let text = outcome == .granted ? "handed over" : "not handed over: \(detail)"
            log("\(pod.record.interface) of \(pod.record.subject) \(text)")
        }
    }

    private func answerNotices(_ pods: inout PodSockets, _ epoll: borrowing Epoll) {
        while let connection = try? notices.accept() {
            let fault = perform(connection, &pods, epoll)
            let answer = fault.map { #"{"error":\#(JSONText.quoted($0))}"# } ?? "{}"
            try? connection.send(Array(answer.utf8))
            status.change { $0.notices[fault == nil, default: 0] += 1 }
            if let fault { log("notice refused: \(fault)") }
        }
        publish(pods)
    }

    /// Does what a notice asks for; why not, when it can't.
    private func perform(
        _ connection: borrowing PacketSocket, _ pods: inout PodSockets, _ epoll: borrowing Epoll
    ) -> String? {
        do {
            let peer = try connection.peer()
            guard peer.uid == 0 else { return "uid \(peer.uid) is not root" }
            // The plugin has sent it when it has connected, or is about to.
            try connection.block(seconds: 1)
            let bytes = try connection.receive(limit: AgentNotice.limit).bytes
            // Somebody only looked whether we are here.
            if bytes.isEmpty { return nil }
            switch try AgentNotice(parsing: bytes) {
            case .attached(let record):
                guard let (token, pod) = try pods.open(record, now: .now()) else { return nil }
                register(pod, token, epoll)
            case .withdraw: try withdraw()
            }
            return nil
        } catch { return "\(error)" }
    }
}
