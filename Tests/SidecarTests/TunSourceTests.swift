import Glibc
import Linux
import Membership
import Sodium
import TestSupport
import Testing

/// The ways by which `warrend sidecar` comes to its device, in a network namespace of the test's with no hub anywhere: what
/// it logs before it joins says which way it went. Needs root.
@Suite(.serialized, .timeLimit(.minutes(2))) struct TunSourceTests {
    private let place: ScratchNamespace
    private let folder: ScratchFolder
    private static let environment = ["PATH": "/usr/sbin:/usr/bin:/sbin:/bin"]
    private static let sidecar: UInt32 = 64738

    init() throws {
        try Libsodium.initialize()
        place = try ScratchNamespace()
        folder = try ScratchFolder()
        // For a user who may not enter the build folder.
        _ = unsafe chmod(folder.path, 0o755)
        try Self.run("cp \(BuiltProgram.path("warrend")) \(folder.path)/warrend", in: place)
        let token = try JoinToken(
            mesh: "demo", address: #require(HubAddress(host: "127.0.0.1", port: 1)), pin: .zero,
            authorityKey: Ed25519.PrivateKey().publicKey, secret: SecretKey(copying: [UInt8](repeating: 7, count: 32)))
        try folder.write(token.exportText(), to: "token")
        try Self.run("ip link set lo up", in: place)
    }

    @discardableResult
    private static func run(_ command: String, in place: ScratchNamespace) throws -> String {
        let outcome = try place.run {
            try ChildProcess("/bin/sh", ["-c", command], environment: environment).wait()
        }
        guard outcome.status == 0 else { throw ChildProcess.Failure(description: "\(command): \(outcome.diagnostics)") }
        return outcome.output
    }

    /// Starts it as `uid`; without any capability where that is not root.
    private func start(uid: UInt32 = 0, _ more: [String] = []) throws -> ChildProcess {
        let state = "\(folder.path)/state-\(folder.names("").count)"
        guard unsafe mkdir(state, 0o700) == 0, unsafe chown(state, uid, uid) == 0 else {
            throw SystemError("give the state folder away", .current)
        }
        let words =
            [
                "--reuid=\(uid)", "--regid=\(uid)", "--clear-groups", "--no-new-privs", "\(folder.path)/warrend",
                "sidecar", "--token-file", "\(folder.path)/token", "--state-dir", state, "--control",
                "\(state)/control.sock",
            ] + more
        // With a device node that any uid may open, as on most machines: who may attach is the kernel's decision.
        let node = "mount -t tmpfs -o mode=755 tmpfs /dev/net && mknod -m 666 /dev/net/tun c 10 200"
        return try place.run {
            try ChildProcess(
                "/usr/bin/unshare", ["--mount", "sh", "-c", "\(node) && exec setpriv \"$@\"", "sh"] + words,
                environment: Self.environment)
        }
    }

    /// Waits until it says something.
    private func hears(_ text: String, from process: ChildProcess) -> Bool {
        for _ in 0..<300 {
            if process.diagnostics.contains(text) { return true }
            usleep(50_000)
        }
        return false
    }

    /// It ends with one line for the operator, that has all of these.
    ///
    /// - Parameter status: 69 (EX_UNAVAILABLE) where starting the sidecar anew is of no use: its pod has no interface.
    private func expectRefusal(_ process: ChildProcess, status: Int32 = 1, _ texts: String...) throws {
        let outcome = try process.wait()
        #expect(outcome.status == status)
        let lines = outcome.diagnostics.split(separator: "\n").filter { $0.contains(" critical ") }
        #expect(lines.count == 1, "\(outcome.diagnostics)")
        for text in texts { #expect(lines.first?.contains(text) == true, "\(text): \(outcome.diagnostics)") }
    }

    private func makeTun(owner: UInt32) throws {
        try Self.run(
            "ip tuntap add warren0 mode tun user \(owner) && ip address add 10.9.7.1/24 dev warren0 "
                + "&& ip link set warren0 mtu 1400 up", in: place)
    }

    @Test func `with the capability and addresses it makes its own, which goes with it`() throws {
        let process = try start(["--address", "fd12:3456:789a:1::5/48", "--address", "10.9.7.5/16"])
        #expect(hears("on warren0 (from made here)", from: process), "\(process.diagnostics)")
        let shown = try Self.run("ip address show warren0; ip route; ip -6 route", in: place)
        for text in ["inet6 fd12:3456:789a:1::5/48", "inet 10.9.7.5/16", "10.9.0.0/16 dev warren0", "UP"] {
            #expect(shown.contains(text), "\(text): \(shown)")
        }
        #expect(!shown.contains("fe80:"))
        kill(process.pid, SIGTERM)
        #expect(try process.wait().status == 0)
        #expect(try !Self.run("ip link", in: place).contains("warren0"))
    }

    @Test func `the interface's owner attaches through the device node, and leaves the interface`() throws {
        try makeTun(owner: Self.sidecar)
        let process = try start(uid: Self.sidecar)
        #expect(hears("on warren0 (from /dev/net/tun): 10.9.7.1", from: process), "\(process.diagnostics)")
        kill(process.pid, SIGTERM)
        #expect(try process.wait().status == 0)
        #expect(try Self.run("ip link", in: place).contains("warren0"))
    }

    @Test func `another's interface and no agent are one refusal that names each way`() throws {
        try makeTun(owner: Self.sidecar + 1)
        try expectRefusal(
            try start(uid: Self.sidecar), "no way to the TUN warren0", "from the node's agent (warren-node)",
            "not with warren-cni's interface there")
    }

    @Test func `no interface is refused at once, with addresses for one and without`() throws {
        try expectRefusal(
            try start(uid: Self.sidecar), status: 69, "interface warren0: not in this network namespace", "--address")
        try expectRefusal(
            try start(uid: Self.sidecar, ["--address", "10.9.7.5/16"]), "no plugin made warren0, and neither can we")
    }
}
