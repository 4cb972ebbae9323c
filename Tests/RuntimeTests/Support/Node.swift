import Glibc
import Lab
import Synchronization

/// A machine with a container runtime, of its own as far as the kernel allows: namespaces for the network, mounts and
/// process ids, and memory where a runtime keeps files.
///
/// ```
///   hub 203.0.113.1 ──── wan ──── 203.0.113.2 node ──── (the runtime's) ──── pods 10.77.0.0/24
/// ```
///
/// Its first process takes everything with it: containers, shims and what else runtimes leave to themselves are killed
/// by the kernel, their mounts and namespaces go with the last of them. Only control groups have to be removed by hand.
final class Node: Sendable {
    let sandbox: Sandbox
    let namespace: Namespace
    let hubNamespace: Namespace
    let image: Image
    /// Its first process, as this machine numbers it.
    let pid: Int32
    private let groups: ControlGroups
    private let hasEnded = Mutex(false)

    /// Where the tests' own files are on the node; programs that runtimes execute are in its `bin`.
    static let folder = "/run/node"
    static let plugins = "\(folder)/bin"
    static let hubAddress = "203.0.113.1"

    init(in sandbox: Sandbox) throws {
        self.sandbox = sandbox
        groups = ControlGroups(named: sandbox.name)
        image = try Image(from: try Programs.folder(), in: sandbox)
        namespace = try sandbox.namespace("node")
        hubNamespace = try sandbox.namespace("hub")
        try namespace.connect(
            "wan", "\(Self.hubAddress.dropLast())2/30", to: hubNamespace, "wan", "\(Self.hubAddress)/30")
        let holder = try sandbox.spawn(
            [
                "nsenter", "--net=\(namespace.path)", "unshare", "--mount", "--pid", "--fork", "--kill-child",
                "--mount-proc", "sh", "-euc", Self.start,
            ])
        pid = try waitUntil("the node's first process", timeout: 10) { () throws -> Int32? in
            guard holder.isRunning else { throw LabError.ended("the node", text: holder.standardError) }
            return ProcessTable.child(of: holder.pid).flatMap {
                fileExists("/proc/\($0)/root\(Self.folder)/ready") ? $0 : nil
            }
        }.value
        for plugin in ["ptp", "host-local", "loopback"] { try install("/usr/lib/cni/\(plugin)", as: plugin) }
        try install("\(image.folder)/warren-cni", as: "warren-cni")
        try install("\(Repository.folder)/Tests/RuntimeTests/Programs/witness.py", as: "witness")
    }

    /// What the first process does; everything below is in memory. The device node is one that any uid may open, as on
    /// most machines: who may attach is the kernel's decision.
    private static let start = """
        for folder in /run /tmp /var/tmp /var/lib /etc/containers; do mount -t tmpfs -o mode=755 tmpfs "$folder"; done
        chmod 1777 /tmp /var/tmp
        mount -t tmpfs -o mode=755 tmpfs /dev/net
        mknod -m 666 /dev/net/tun c 10 200
        mkdir -p /run/netns /run/lock \(plugins) /var/lib/containers
        ip link set lo up
        sysctl -qw net.ipv4.ip_forward=1
        touch \(folder)/ready
        exec catatonit -- sleep infinity
        """

    /// The node's root folder, as this process reaches it.
    var root: String { "/proc/\(pid)/root" }

    func text(_ path: String) -> String { readText(root + path) }

    func write(_ text: String, to path: String, mode: mode_t = 0o644, owner: UInt32? = nil) throws {
        try writeText(text, to: root + path, mode: mode, owner: owner)
    }

    func install(_ program: String, as name: String) throws {
        try sandbox.run("install", "-m", "0755", program, "\(root)\(Self.plugins)/\(name)")
    }

    // MARK: - Running

    /// Starts `words` on the node. The process returned is `nsenter`, whose child is the program.
    func spawn(_ words: [String], environment: [String: String] = [:], input: String? = nil) throws -> ChildProcess {
        try sandbox.spawn(enter + words, environment: environment, input: input)
    }

    func result(
        of words: [String], environment: [String: String] = [:], input: String? = nil, timeout: Double = 60
    ) throws -> Output {
        try sandbox.result(of: enter + words, environment: environment, input: input, timeout: timeout)
    }

    /// Runs `words`, which must end with status 0, and returns its standard output.
    @discardableResult
    func run(_ words: String..., input: String? = nil, timeout: Double = 60) throws -> String {
        try sandbox.output(of: enter + words, input: input, timeout: timeout)
    }

    var enter: [String] { ["nsenter", "--target", "\(pid)", "--net", "--mount", "--pid", "--"] }

    // MARK: - The end

    /// Ends everything and removes it; returns what is left nevertheless. Idempotent; any thread.
    @discardableResult
    func tearDown() -> [String] {
        // Once: another process may have the number later.
        let isFirst = hasEnded.withLock { ended in
            defer { ended = true }
            return !ended
        }
        if isFirst { kill(pid, SIGKILL) }
        sandbox.tearDown()
        return groups.remove() + Sandbox.remains(of: sandbox.name)
    }
}

/// A node, taken down afterwards whatever happens.
func withNode(_ body: (Node) throws -> Void) throws {
    let sandbox = try Sandbox.unique()
    Interruption.cleanUp { sandbox.tearDown() }
    defer { sandbox.tearDown() }
    let node = try Node(in: sandbox)
    Interruption.cleanUp { node.tearDown() }
    let result = Result { try body(node) }
    let left = node.tearDown()
    try result.get()
    if !left.isEmpty { throw LabError.unexpected("left behind: \(left)") }
}
