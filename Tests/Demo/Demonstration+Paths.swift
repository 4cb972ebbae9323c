import Control
import Glibc
import Lab

extension Demonstration {
    /// The first packet, and how the path turns from relayed to direct.
    func meet(_ a: Pod, _ b: Pod) throws {
        screen.title("The first packet")
        let address = try mesh.virtualIPv6(of: b)
        let wire = try Capture(in: mesh.underlay.router(of: a.site), link: "wan", filter: ["udp"])
        let start = Clock.now
        let ping = try a.startPing(address)
        defer { ping.stop() }
        screen.step("pod-a: ping \(address)")
        let direct = try waitUntil("a direct path", timeout: 15, every: 0.002) {
            try mesh.peer(of: a, at: address).flatMap { $0.path == "direct" ? $0 : nil }
        }
        usleep(UInt32(max(0, start + 1 - Clock.now) * 1e6))
        let first = try waitUntil("the first answer", timeout: 5) { PingReport.first(in: ping.standardOutput) }.value
        let report = try ping.pingReport()
        let datagrams = try wire.stop().compactMap { WireDatagram($0) }
        let story = MeetingStory(datagrams, hub: Plan.hub, here: a.site.publicAddress, there: b.site.publicAddress)
        screen.step("what the Internet saw at \(a.site.router), from the first handshake message on:")
        story.lines.forEach { screen.detail($0) }
        screen.step(
            "first packet answered in \(milliseconds(first)); \(report.lost) of \(report.sent) lost in the first second"
        )
        let endpoint = direct.value.endpoint
        summary.add(
            "first packet, by the relay", "answered in \(milliseconds(first))", bar: "≤ 1000 ms",
            first <= 1000 && story.beganAtRelay)
        summary.add(
            "then direct, NAT to NAT", "\(endpoint) after \(milliseconds((story.directAfter ?? .nan) * 1000))",
            bar: "≤ 5 s", (story.directAfter ?? .infinity) <= 5 && endpoint.hasPrefix(b.site.publicAddress))
        summary.add(
            "lost while the path changed", "\(report.lost) of \(report.sent)", bar: "0",
            report.lost == 0 && report.sent >= 20)
    }

    /// What an eavesdropper on the Internet sees of a payload, and the proof that the search would find it.
    func searchTheWire(_ a: Pod, _ b: Pod) throws {
        screen.title("The wire")
        let marker = "warren-marker-\(String(UInt64.random(in: .min ... .max), radix: 16))"
        let address = try mesh.virtualIPv6(of: b)
        let wire = try Capture(in: mesh.underlay.router(of: a.site), link: "wan")
        let inside = try Capture(in: a, link: Plan.interface)
        var echoes = 0
        for _ in 0..<5 {
            let answer = try Traffic.udpEcho(from: a, to: b, address: address, message: marker)
            if answer == marker { echoes += 1 }
        }
        let (outer, inner) = (try wire.stop(), try inside.stop())
        let (seen, control) = (outer.count(containing: marker), inner.count(containing: marker))
        screen.step("sent the payload \(marker) five times and got it back \(echoes) times")
        screen.step("on nat-a's wan side: \(outer.count) packets, \(seen) of them with the payload")
        screen.step(
            "the same search on \(Plan.interface) in pod-a: \(inner.count) packets, \(control) with the payload")
        summary.add(
            "payload readable on the wire", "in \(seen) of \(outer.count) packets", bar: "0",
            seen == 0 && outer.count >= 10)
        summary.add("the same search inside the pod", "in \(control) of \(inner.count)", bar: "≥ 10", control >= 10)
        let leaked = try mesh.underlay.privatePackets()
        summary.add("private addresses on the Internet", "\(leaked) packets", bar: "0", leaked == 0)
    }

    /// Kills a sidecar, then makes a router forget its bindings; data must flow again.
    func breakIt(_ a: Pod, _ b: Pod) throws {
        screen.title("Breaking it")
        let address = try mesh.virtualIPv6(of: b)
        let back = try mesh.recoveryAfterKill(of: b, watchedFrom: a, address: address)
        screen.step("kill -9 of pod-b's sidecar: data again \(seconds(back)) after its start, same agent")
        summary.add("sidecar killed -9, started again", "data after \(seconds(back))", bar: "≤ 3 s", back <= 3)

        let gap = try mesh.gapAfterFlush(of: b.site, watchedFrom: a, address: address, seconds: 3)
        screen.step("nat-b forgets all its bindings: longest silence \(seconds(gap))")
        summary.add("router's bindings flushed", "silent for \(seconds(gap))", bar: "≤ 5 s", gap <= 5)
    }
}
