import Synchronization

/// What the agent's threads have to say about themselves, for health and metrics. Safe for concurrent use.
package final class NodeStatus: Sendable {
    package struct Snapshot: Sendable {
        package var installer = Installer.Outcome.waiting("starting")
        /// The installed plugin's answer to STATUS; nil for ok.
        package var pluginFault: String? = "not asked yet"
        package var attachments = 0
        package var podSockets = 0
        /// Pods whose socket name another process has.
        package var occupied = 0
        package var inserts = 0
        package var conflicts = 0
        package var failures = 0
        package var reconciled = 0
        package var notices: [Bool: Int] = [:]
        package var handovers: [HandoverOutcome: Int] = [:]

        /// The entry is in place, the binary is the right one, and an ADD could succeed.
        package var isReady: Bool {
            if case .installed = installer { pluginFault == nil } else { false }
        }
    }

    private let state = Mutex(Snapshot())

    package init() {}

    package var snapshot: Snapshot { state.withLock { $0 } }

    func change(_ body: (inout Snapshot) -> Void) { state.withLock { body(&$0) } }
}

extension NodeStatus.Snapshot {
    /// For `/healthz`.
    package var json: String {
        let (word, detail): (String, String) =
            switch installer {
            case .waiting(let text): ("waiting", text)
            case .installed(let file, _, _): ("installed", file)
            case .conflict(let text): ("conflict", text)
            case .failed(let text): ("failed", text)
            case .withdrawn: ("withdrawn", "")
            }
        return #"{"ready":\#(isReady),"installer":"\#(word)","detail":\#(JSONText.quoted(detail)),"#
            + #""plugin":\#(JSONText.quoted(pluginFault ?? "ok")),"attachments":\#(attachments)}"#
    }

    /// For `/metrics`, in Prometheus's text format 0.0.4.
    package var metrics: String {
        var text = ""
        func metric(_ name: String, _ type: String, _ help: String, _ samples: [(labels: String, value: Int)]) {
            text += "# HELP warren_node_\(name) \(help)\n# TYPE warren_node_\(name) \(type)\n"
            for sample in samples { text += "warren_node_\(name)\(sample.labels) \(sample.value)\n" }
        }
        metric("ready", "gauge", "Entry, binary and plugin are as they should be.", [("", isReady ? 1 : 0)])
        metric("attachments", "gauge", "Attachments on this node.", [("", attachments)])
        metric("pod_sockets", "gauge", "Pods whose sidecar can ask for its TUN.", [("", podSockets)])
        metric("occupied_pod_sockets", "gauge", "Pods in which another process has the agent's name.", [("", occupied)])
        metric("conflist_inserts_total", "counter", "Times the entry was put into a conflist.", [("", inserts)])
        metric("conflist_conflicts_total", "counter", "Times another agent's changes made us pause.", [("", conflicts)])
        metric("installer_failures_total", "counter", "Times the installation failed.", [("", failures)])
        metric("reconciled_total", "counter", "Attachments freed because their namespace was gone.", [("", reconciled)])
        metric(
            "notices_total", "counter", "Attachments that the plugin told of.",
            [("{result=\"ok\"}", notices[true] ?? 0), ("{result=\"refused\"}", notices[false] ?? 0)])
        metric(
            "handovers_total", "counter", "Descriptors asked for by sidecars.",
            HandoverOutcome.allCases.map { ("{result=\"\($0.rawValue)\"}", handovers[$0] ?? 0) })
        return text
    }
}
