import Control
import Glibc

extension Mesh {
    /// Kills the pod's sidecar with SIGKILL and starts it again, without a token, while another pod pings it.
    ///
    /// Returns the seconds from its start to the first reply after it. Throws when it comes back as another agent.
    package func recoveryAfterKill(
        of pod: Pod, watchedFrom watcher: Pod, address: String, timeout: Double = 15
    ) throws -> Double {
        let identity = try status(of: pod).id
        let ping = try watcher.startPing(address)
        defer { ping.stop() }
        try waitUntil("an answer before the kill", timeout: 5) { !PingReport.arrivals(in: ping.standardOutput).isEmpty }
        try killSidecar(pod)
        usleep(300_000)
        let start = Clock.wall
        try startSidecar(pod)
        let arrival = try waitUntil("an answer after the restart of \(pod.name)", timeout: timeout) {
            PingReport.arrivals(in: ping.standardOutput).first { $0 > start }
        }.value
        try waitReady(pod)
        guard try status(of: pod).id == identity else { throw LabError.unexpected("\(pod.name) is another agent now") }
        return arrival - start
    }

    /// Makes a site's router forget its NAT bindings while a pod pings `address`; returns the longest silence in seconds.
    package func gapAfterFlush(
        of site: Plan.Site, watchedFrom watcher: Pod, address: String, seconds: Double
    ) throws -> Double {
        let ping = try watcher.startPing(address)
        defer { ping.stop() }
        try waitUntil("an answer before the flush", timeout: 5) {
            !PingReport.arrivals(in: ping.standardOutput).isEmpty
        }
        let flushed = Clock.wall
        try underlay.flushConntrack(of: site)
        usleep(UInt32(seconds * 1e6))
        let ended = Clock.wall
        let report = try ping.pingReport()
        // The silence up to the end counts too: without it a dead path would look like a short gap.
        let last = report.arrivals.last { $0 < ended } ?? flushed
        return max(report.longestGap, ended - last)
    }
}
