import Glibc
import Lab
import PortMapping

/// A gateway's port mapping service, in the bench's NAT: Debian's miniupnpd, or one of the lab's responders.
enum MappingPeer: String, CaseIterable {
    case miniupnpd, pcp, upnp1, upnp2

    /// What a client is told the address outside is. miniupnpd refuses to map for an address that it knows is not public.
    var external: String { self == .miniupnpd ? "100.128.0.11" : NATBench.router }

    var protocols: [MappingProtocol] {
        switch self {
        case .miniupnpd: MappingProtocol.allCases
        case .pcp: [.pcp, .natPMP]
        case .upnp1, .upnp2: [.upnp]
        }
    }

    func start(_ bench: NATBench, _ options: [String] = []) throws -> ChildProcess {
        switch self {
        case .miniupnpd: return try startMiniupnpd(bench)
        case .pcp: return try startResponder("pcp.py", bench, options)
        case .upnp1: return try startResponder("upnp.py", bench, ["--version", "1", "--chunked"] + options)
        case .upnp2: return try startResponder("upnp.py", bench, options)
        }
    }

    private func startResponder(_ name: String, _ bench: NATBench, _ options: [String]) throws -> ChildProcess {
        let process = try bench.nat.spawn(
            [
                "python3", "\(Responders.folder)/\(name)", "--listen", NATBench.gateway, "--external", external,
                "--wan",
                "wan",
            ] + options)
        try waitUntil("\(name) ready", timeout: 10) {
            guard process.isRunning else { throw LabError.ended(name, text: process.standardError) }
            return process.standardOutput.contains("ready")
        }
        return process
    }

    private func startMiniupnpd(_ bench: NATBench) throws -> ChildProcess {
        let settings = bench.sandbox.path("miniupnpd.conf")
        try writeText(
            """
            ext_ifname=wan
            ext_ip=\(external)
            listening_ip=lan
            http_port=5000
            enable_natpmp=yes
            enable_upnp=yes
            secure_mode=yes
            uuid=3d8c7a34-1111-2222-3333-444455556666
            allow 1024-65535 10.1.0.0/24 1024-65535
            deny 0-65535 0.0.0.0/0 0-65535

            """, to: settings)
        // The chains that it fills.
        try bench.nat.run(
            "nft", "-f", "-",
            input: """
                table inet filter {
                    chain miniupnpd { }
                    chain prerouting_miniupnpd { }
                    chain postrouting_miniupnpd { }
                    chain forward { type filter hook forward priority 0; policy accept; jump miniupnpd; }
                    chain prerouting { type nat hook prerouting priority -100; policy accept; jump prerouting_miniupnpd; }
                    chain postrouting {
                        type nat hook postrouting priority 90; policy accept;
                        jump postrouting_miniupnpd;
                    }
                }

                """)
        let process = try bench.nat.spawn([
            "miniupnpd", "-d", "-f", settings, "-P", bench.sandbox.path("miniupnpd.pid"),
        ])
        try waitUntil("miniupnpd ready", timeout: 10) {
            guard process.isRunning else { throw LabError.ended("miniupnpd", text: process.standardError) }
            return (process.standardOutput + process.standardError).contains("Listening for NAT-PMP/PCP")
        }
        return process
    }
}

/// The gateways in Python that the lab brings along.
enum Responders {
    static let folder =
        String(#filePath.split(separator: "/").dropLast(2).reduce("") { $0 + "/" + $1 }) + "/Lab/Responders"
}
