import Metrics
import Relay

/// What a relay counts, as Prometheus reads it. It names no agent.
enum RelayMetrics {
    static func write(_ exchange: RelaySwitch, to page: inout Exposition) {
        let (clients, counters, answers) = exchange.withServer { ($0.clientCount, $0.counters, $0.stunAnswers) }
        var own = Exposition(prefix: "warren_relay_")
        own.gauge("agents", "Registered agents.", clients)
        own.gauge("streams", "Open streams.", exchange.openStreams)
        own.counter("registrations_total", "Registrations and renewals.", counters.registrations)
        own.counter("expirations_total", "Registrations that ended by time.", counters.expirations)
        own.counter("forwarded_packets_total", "Frames of relay data let pass.", counters.forwardedPackets)
        own.counter("forwarded_bytes_total", "Bytes of these, headers included.", counters.forwardedBytes)
        own.counter("replies_total", "Answers of the relay and of STUN.", counters.replies)
        own.counter("stun_answers_total", "Answers of STUN alone.", answers)
        own.counter(
            "drops_total", "Frames refused or dropped.", by: "reason",
            DropReason.allCases.filter { counters[$0] > 0 }.map { ("\($0)", counters[$0]) })
        own.counter("queue_drops_total", "Frames, or runs of them, that a full queue lost.", exchange.queueDrops)
        own.gauge("queue_bytes", "What waits in queues, by its weight.", exchange.queueBytes)
        page.append(own)
    }
}
