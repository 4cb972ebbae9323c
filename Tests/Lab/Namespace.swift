/// A place where programs run: a named network namespace, or a pod (which adds its own mounts).
package protocol Place {
    var sandbox: Sandbox { get }
    /// What to put before a command so that it runs here. The command keeps the process id.
    var enter: [String] { get }
}

extension Place {
    /// Starts `words` here.
    package func spawn(
        _ words: [String], environment: [String: String] = [:], input: String? = nil
    ) throws -> ChildProcess {
        try sandbox.spawn(enter + words, environment: environment, input: input)
    }

    /// Runs `words` here to the end, whatever its status.
    package func result(
        of words: [String], environment: [String: String] = [:], input: String? = nil, timeout: Double = 30
    ) throws -> Output {
        try sandbox.result(of: enter + words, environment: environment, input: input, timeout: timeout)
    }

    /// Runs `words` here, which must end with status 0, and returns its standard output.
    @discardableResult
    package func run(_ words: String..., input: String? = nil, timeout: Double = 30) throws -> String {
        try sandbox.output(of: enter + words, input: input, timeout: timeout)
    }
}

/// A named network namespace of a sandbox (ip-netns(8)).
package struct Namespace: Place, Sendable {
    package let sandbox: Sandbox
    package let name: String

    package var path: String { "/run/netns/\(name)" }
    package var enter: [String] { ["ip", "netns", "exec", name] }

    /// A veth pair between this namespace and another; both ends up, with an address each.
    package func connect(
        _ link: String, _ address: String, to other: Namespace, _ otherLink: String, _ otherAddress: String
    ) throws {
        try sandbox.run(
            "ip", "link", "add", link, "netns", name, "type", "veth", "peer", "name", otherLink, "netns", other.name)
        for (namespace, link, address) in [(self, link, address), (other, otherLink, otherAddress)] {
            try sandbox.run("ip", "-n", namespace.name, "address", "add", address, "dev", link)
            try sandbox.run("ip", "-n", namespace.name, "link", "set", link, "up")
        }
    }

    package func route(_ destination: String, via gateway: String) throws {
        try sandbox.run("ip", "-n", name, "route", "add", destination, "via", gateway)
    }

    /// Lets the namespace forward IPv4, as a router does.
    package func forward() throws {
        try run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    }

    /// Runs several commands of ip(8) in one process; the first that fails ends it.
    package func batch(_ commands: [String]) throws {
        try sandbox.run("ip", "-n", name, "-batch", "-", input: commands.joined(separator: "\n") + "\n")
    }

    /// Loads nftables rules, replacing all that were there.
    package func load(rules: String) throws {
        try run("nft", "-f", "-", input: "flush ruleset\n" + rules)
    }
}
