package import CNI
import Metrics
import Scrape
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
        /// Questions to the installed plugin, by whether it was well.
        package var pluginCalls: [Bool: Int] = [:]
        package var usage = AddressUsage()

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
        var page = Exposition(prefix: "warren_node_")
        page.gauge("ready", "Entry, binary and plugin are as they should be.", isTrue: isReady)
        page.gauge("attachments", "Attachments on this node.", attachments)
        page.gauge("pod_sockets", "Pods whose sidecar can ask for its TUN.", podSockets)
        page.gauge("occupied_pod_sockets", "Pods in which another process has the agent's name.", occupied)
        page.counter("conflist_inserts_total", "Times the entry was put into a conflist.", UInt64(inserts))
        page.counter("conflist_conflicts_total", "Times another agent's changes made us pause.", UInt64(conflicts))
        page.counter("installer_failures_total", "Times the installation failed.", UInt64(failures))
        page.counter(
            "reconciled_total", "Attachments freed because their namespace was gone.", UInt64(reconciled))
        page.counter(
            "notices_total", "Attachments that the plugin told of.", by: "result",
            [("ok", UInt64(notices[true] ?? 0)), ("refused", UInt64(notices[false] ?? 0))])
        page.counter(
            "handovers_total", "Descriptors asked for by sidecars.", by: "result",
            HandoverOutcome.allCases.map { ($0.rawValue, UInt64(handovers[$0] ?? 0)) })
        page.counter(
            "plugin_calls_total", "Questions to the installed plugin whether an ADD could succeed.", by: "result",
            [("ok", UInt64(pluginCalls[true] ?? 0)), ("error", UInt64(pluginCalls[false] ?? 0))])
        page.gauge(
            "addresses", "IPv4 addresses that this node gives to its pods.",
            samples: usage.blocks.flatMap { block in
                [("allocated", block.allocated), ("free", block.free)].map {
                    ([("network", block.network), ("block", block.name), ("state", $0.0)], $0.1)
                }
            })
        page.gauge(
            "ports", "Ports of the node that lead to its pods.", by: "state",
            usage.ports.map { [("taken", $0.taken), ("free", $0.free)] } ?? [])
        ProcessFigures.write(to: &page)
        return page.text
    }
}
