import Relay

/// What a relay counts, as Prometheus reads it (text format 0.0.4). It names no agent.
enum RelayMetrics {
    static func text(_ exchange: RelaySwitch) -> String {
        let (clients, counters) = exchange.withServer { ($0.clientCount, $0.counters) }
        var lines: [String] = []
        func add(_ name: String, _ type: String, _ help: String, _ values: [(labels: String, value: UInt64)]) {
            lines.append("# HELP warren_relay_\(name) \(help)")
            lines.append("# TYPE warren_relay_\(name) \(type)")
            lines += values.map { "warren_relay_\(name)\($0.labels) \($0.value)" }
        }
        add("agents", "gauge", "Registered agents.", [("", UInt64(clients))])
        add("streams", "gauge", "Open streams.", [("", UInt64(exchange.openStreams))])
        add("registrations_total", "counter", "Registrations and renewals.", [("", counters.registrations)])
        add("expirations_total", "counter", "Registrations that ended by time.", [("", counters.expirations)])
        add("forwarded_packets_total", "counter", "Frames of relay data let pass.", [("", counters.forwardedPackets)])
        add("forwarded_bytes_total", "counter", "Bytes of these, headers included.", [("", counters.forwardedBytes)])
        add("replies_total", "counter", "Answers of the relay and of STUN.", [("", counters.replies)])
        add(
            "drops_total", "counter", "Frames refused or dropped.",
            DropReason.allCases.filter { counters[$0] > 0 }.map { ("{reason=\"\($0)\"}", counters[$0]) })
        add(
            "queue_drops_total", "counter", "Frames, or runs of them, that a full queue lost.",
            [("", exchange.queueDrops)])
        return lines.joined(separator: "\n") + "\n"
    }
}
