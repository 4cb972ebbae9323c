import Lab
import Testing

extension EndToEnd {
    /// Unmodified programs do not notice that a tunnel is between them.
    @Suite struct Transparency {
        @Test func `ping over v4 and v6 loses nothing, fragments included`() throws {
            try withPair { mesh, a, b in
                for address in [try mesh.virtualIPv6(of: b), try mesh.virtualIPv4(of: b)] {
                    try mesh.waitDirect(a, to: address)
                    let report = try a.ping(address, count: 100, interval: 0.01)
                    #expect(report.sent == 100)
                    #expect(report.lost == 0)
                    figure("ping \(address)", milliseconds(report.average))
                    let large = try a.result(of: ["ping", "-n", "-c", "5", "-i", "0.05", "-s", "8000", address])
                    #expect(large.standardOutput.contains("5 received"))
                }
            }
        }

        @Test func `a file by HTTP arrives unchanged, by name and both ways`() throws {
            try withPair { mesh, a, b in
                for (client, server) in [(a, b), (b, a)] {
                    let hosts = try mesh.warren("hosts", server.name, in: client)
                    try client.addHosts(hosts.standardOutput)
                    let listen = try mesh.virtualIPv6(of: server)
                    let page = try Traffic.http(
                        from: client, to: server, host: server.name, listen: listen, bytes: 20 << 20)
                    #expect(page.address == listen)
                    figure("20 MiB by HTTP \(client.name) from \(server.name)", seconds(page.seconds))
                }
            }
        }

        @Test func `datagrams are echoed over v4 and v6, small and fragmented`() throws {
            try withPair { mesh, a, b in
                for address in [try mesh.virtualIPv6(of: b), try mesh.virtualIPv4(of: b)] {
                    for size in [1, 1300, 5000] {
                        let message = String(repeating: "x", count: size)
                        #expect(try Traffic.udpEcho(from: a, to: b, address: address, message: message) == message)
                    }
                }
            }
        }

        @Test func `ssh logs in and pipes data both ways`() throws {
            try withPair { mesh, a, b in
                let shell = try SecureShell(in: b, address: try mesh.virtualIPv6(of: b))
                defer { shell.stop() }
                let text = String(repeating: "0123456789abcdef", count: 1 << 16)
                let output = try shell.run("echo $SSH_CONNECTION >&2; cat", from: a, input: text)
                #expect(output.status == 0)
                #expect(output.standardOutput == text)
                #expect(output.standardError.contains(try mesh.virtualIPv6(of: b)))
                figure("ssh, 1 MiB there and back", seconds(output.seconds))
            }
        }

        @Test func `a gRPC client and server exchange calls and streams`() throws {
            try withPair { mesh, a, b in
                let report = try Traffic.grpc(from: a, to: b, address: try mesh.virtualIPv6(of: b))
                #expect(report.contains("200 unary calls"))
                figure("gRPC", report)
            }
        }

        @Test(.timeLimit(.minutes(3)))
        func `1 GiB reaches a slow reader whole, without a stall of the tunnel's`() throws {
            try withPair { mesh, a, b in
                let size = 1 << 30
                let report = try Traffic.slowReader(
                    from: a, to: b, address: try mesh.virtualIPv6(of: b), bytes: size, timeout: 120)
                #expect(report.bytes == size)
                #expect(report.hash == report.sentHash)
                #expect(report.seconds >= 32.7, "the reader sleeps 2 ms between 16384 reads")
                #expect(report.seconds <= 60)
                #expect(report.longestWait <= 1)
                figure(
                    "1 GiB to a slow reader",
                    "\(seconds(report.seconds)), longest wait for 64 KiB \(milliseconds(report.longestWait * 1000))")
            }
        }

        @Test func `TCP flows in each direction`() throws {
            try withPair { mesh, a, b in
                let address = try mesh.virtualIPv6(of: b)
                try mesh.waitDirect(a, to: address)
                for isReversed in [false, true] {
                    let result = try Traffic.throughput(
                        from: a, to: b, address: address, seconds: 3, isReversed: isReversed)
                    #expect(result.megabits >= 50)
                    figure("iperf3\(isReversed ? " -R" : "")", "\(fixed(result.megabits, 0)) Mbit/s")
                }
            }
        }

        @Test func `nothing readable leaves the pod`() throws {
            try withPair { mesh, a, b in
                let marker = "marker-\(UInt64.random(in: .min ... .max))"
                let address = try mesh.virtualIPv6(of: b)
                let wire = try Capture(in: mesh.underlay.router(of: a.site), link: "lan")
                let inside = try Capture(in: a, link: Plan.interface)
                #expect(try Traffic.udpEcho(from: a, to: b, address: address, message: marker) == marker)
                let (outer, inner) = (try wire.stop(), try inside.stop())
                #expect(outer.count(containing: marker) == 0)
                #expect(outer.count >= 2)
                #expect(inner.count(containing: marker) == 2)
            }
        }
    }
}
