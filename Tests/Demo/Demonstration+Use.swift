import Lab

extension Demonstration {
    /// Unmodified programs, by virtual address and by name.
    func useIt(_ a: Pod, _ b: Pod) throws {
        screen.title("Unmodified programs")
        try pingBoth(a, b)
        let hosts = try mesh.warren("hosts", b.name, in: a)
        guard hosts.succeeded else { throw LabError.unexpected("warren hosts \(b.name): \(hosts.text)") }
        try a.addHosts(hosts.standardOutput)
        let ipv6 = try mesh.virtualIPv6(of: b)
        let page = try Traffic.http(from: a, to: b, host: b.name, listen: ipv6, bytes: 1 << 20)
        screen.step("curl http://\(b.name):8080/file → 1 MiB from \(page.address) in \(seconds(page.seconds)), equal")
        summary.add("HTTP by name", "1 MiB in \(seconds(page.seconds)), equal", bar: "equal", true)

        let message = "hello by UDP"
        let answers = try [ipv6, mesh.virtualIPv4(of: b)].map {
            try Traffic.udpEcho(from: a, to: b, address: $0, message: message)
        }
        let isEchoed = answers == [message, message]
        screen.step("UDP echo over v6 and v4: \(screen.mark(isEchoed))")
        summary.add("UDP echo", isEchoed ? "v6 and v4 came back" : "\(answers)", bar: "both", isEchoed)

        for (text, isReversed) in [("pod-a → pod-b", false), ("pod-b → pod-a", true)] {
            let result = try Traffic.throughput(from: a, to: b, address: ipv6, seconds: 3, isReversed: isReversed)
            let measured = "\(fixed(result.megabits, 0)) Mbit/s"
            screen.step("iperf3 \(text): \(measured), \(result.retransmitted) segments sent again")
            summary.add("throughput \(text), TCP", measured, bar: "≥ 100 Mbit/s", result.megabits >= 100)
        }
    }

    private func pingBoth(_ a: Pod, _ b: Pod) throws {
        let under = try a.ping(b.site.publicAddress, count: 10, interval: 0.02)
        for (family, address) in [("v6", try mesh.virtualIPv6(of: b)), ("v4", try mesh.virtualIPv4(of: b))] {
            let report = try a.ping(address, count: 50, interval: 0.02)
            screen.step(
                "ping \(address): \(milliseconds(report.average)) round trip, \(report.lost) of \(report.sent) lost "
                    + "(to nat-b without the tunnel \(milliseconds(under.average)))")
            summary.add(
                "ping \(family), direct", "\(milliseconds(report.average)), \(report.lost) of \(report.sent) lost",
                bar: "0 lost", report.lost == 0 && report.sent == 50)
        }
    }

    /// What to type while everything is up.
    func explainHowToPlay(_ a: Pod, _ b: Pod) {
        screen.title("Everything is still up. To play with it, as root:")
        for pod in [a, b] { screen.plain("  alias in-\(pod.name)='\(pod.enter.joined(separator: " "))'") }
        let warren = "\(Pod.programs)/warren --control \(Pod.controlSocket)"
        screen.plain("  in-pod-a ping \(b.name)")
        screen.plain("  in-pod-a \(warren) status")
        screen.plain("  in-pod-a \(warren) peers")
        screen.plain("  \(mesh.underlay.wan.enter.joined(separator: " ")) tcpdump -ni any")
        screen.plain("and to remove it all: sudo make demo-clean")
    }
}
