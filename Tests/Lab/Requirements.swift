import Glibc

/// What a scenario needs from the machine, and what to do about what is missing.
package enum Requirements {
    /// Command and the Debian package it is in.
    package static let tools = [
        ("ip", "iproute2"), ("nft", "nftables"), ("conntrack", "conntrack"), ("tcpdump", "tcpdump"),
        ("ping", "iputils-ping"), ("curl", "curl"), ("python3", "python3"), ("socat", "socat"), ("iperf3", "iperf3"),
        ("openssl", "openssl"), ("setpriv", "util-linux"), ("nsenter", "util-linux"), ("sysctl", "procps"),
    ]

    /// Tools that only the tests use.
    package static let testTools = [("ssh", "openssh-client"), ("sshd", "openssh-server"), ("wg", "wireguard-tools")]

    /// One clear line for each thing that is missing; empty when the scenario can run.
    package static func missing(_ tools: [(String, String)] = Requirements.tools) -> [String] {
        if geteuid() != 0 { return ["not root: run `sudo make demo` (it makes network namespaces)"] }
        var lines: [String] = []
        if !fileExists("/dev/net/tun") {
            lines.append("no /dev/net/tun: `modprobe tun`, or start this container with `--device /dev/net/tun`")
        }
        let packages = Set(tools.filter { !isInstalled($0.0) }.map(\.1)).sorted()
        if !packages.isEmpty {
            let commands = tools.filter { !isInstalled($0.0) }.map(\.0).joined(separator: ", ")
            lines.append("missing \(commands): `apt-get install \(packages.joined(separator: " "))`")
        }
        return lines
    }

    private static func isInstalled(_ tool: String) -> Bool { Sandbox.find(tool) != nil }
}
