import Addressing
import Directory
import Linux
import Scrape
import Synchronization
import Tunnel

/// Health and metrics for the kubelet and Prometheus, on a thread of its own: it answers also when no other thread does.
///
/// Open to whoever reaches the pod, as its other ports are, but not to the mesh: peers need not know who else is one.
struct HealthPort {
    private let server: ScrapeServer

    /// - Throws: `SidecarError.configuration` when the port can't be had.
    init(_ listen: Endpoint, _ run: AgentRun) throws(SidecarError) {
        do {
            server = try ScrapeServer(
                listen: listen,
                refuses: { address in
                    run.joined.withLock { $0 }?.mesh.ranges.contains { $0.contains(address) } ?? false
                },
                answer: { path in
                    switch path {
                    case "/metrics": .metrics(run.metrics())
                    case "/livez": Self.liveness(run)
                    case "/readyz":
                        run.status.now.isReady
                            ? ScrapeAnswer("200 OK", "ready\n")
                            : ScrapeAnswer("503 Service Unavailable", "\(run.status.now.whyNotReady)\n")
                    default: nil
                    }
                })
        } catch { throw .configuration("serve health and metrics (--metrics-listen): \(error)") }
    }

    /// Serves until the task is cancelled.
    func run() async throws(SidecarError) {
        let failure: SystemError? = await withTaskCancellationHandler {
            await withCheckedContinuation { (continuation: CheckedContinuation<SystemError?, Never>) in
                do throws(SystemError) {
                    _ = try Thread(named: "warren-health") {
                        do throws(SystemError) {
                            try server.run()
                            continuation.resume(returning: nil)
                        } catch { continuation.resume(returning: error) }
                    }
                } catch { continuation.resume(returning: error) }
            }
        } onCancel: {
            server.stop()
        }
        if let failure { throw .configuration("serve health and metrics: \(failure)") }
    }

    /// A hub that is away is no reason to start anew, nor is a tunnel that is not there yet.
    private static func liveness(_ run: AgentRun) -> ScrapeAnswer {
        guard let thread = run.joined.withLock({ $0 })?.tunnel.stalledThreadWaiting() else {
            return ScrapeAnswer("200 OK", "alive\n")
        }
        return ScrapeAnswer("503 Service Unavailable", "thread \(thread) is stuck\n")
    }
}

extension AgentStatus.Snapshot {
    /// For a person.
    var whyNotReady: String {
        if isDraining { return "ending" }
        if !isAnnounced { return "hub \(hub.rawValue): \(hubDetail)" }
        return "waiting for the handshake of \(waitingFor.joined(separator: ", "))"
    }
}
