import Foundation
import Lab

/// containerd with runc on a node, and a CRI client beside it: what a kubelet has.
final class Containerd {
    let node: Node
    let cri: CRI
    private var process: ChildProcess
    private let client: ChildProcess

    private static let folder = "/run/containerd-test"
    private static let socket = "\(folder)/containerd.sock"
    static let networks = "\(Node.folder)/cni.d"
    static let conflist = "\(networks)/10-warren.conflist"

    /// - Parameter programs: whether the image is to hold the sidecar, not busybox alone.
    init(on node: Node, conflist: Conflist, programs: Bool) throws {
        self.node = node
        try node.run("mkdir", "-p", Self.folder, Self.networks, SandboxConfiguration.logs)
        try node.write(conflist.text, to: Self.conflist)
        try node.write(Self.configuration, to: "\(Self.folder)/config.toml")
        try node.write(readText("\(Repository.folder)/Tests/RuntimeTests/Programs/cri.py"), to: "\(Node.folder)/cri.py")
        process = try Self.start(on: node)
        client = try node.spawn(["/usr/bin/python3", "\(Node.folder)/cri.py", Self.socket, "\(Node.folder)/cri.sock"])
        cri = CRI(socket: "\(node.root)\(Node.folder)/cri.sock")
        try waitUntil("the CRI client", timeout: 10) { [client, cri] in
            guard client.isRunning else { throw LabError.ended("cri.py", text: client.standardError) }
            return fileExists(cri.socket)
        }
        let archive = "\(Node.folder)/image.tar"
        _ = try Podman(on: node, conflist: conflist)
        try ContainerImage.build(on: node, programs: programs, archive: archive)
        // CRI sees the images of this namespace only.
        try node.run("ctr", "-a", Self.socket, "-n", "k8s.io", "images", "import", archive)
        try waitReady()
    }

    /// OOM scores can't be lowered in an unprivileged virtual machine; SystemdCgroup needs systemd.
    private static let configuration = """
        version = 2
        root = "\(folder)/root"
        state = "\(folder)/state"
        [grpc]
          address = "\(socket)"
        [ttrpc]
          address = "\(folder)/ttrpc.sock"
        [plugins."io.containerd.grpc.v1.cri"]
          sandbox_image = "\(ContainerImage.name)"
          restrict_oom_score_adj = true
          disable_apparmor = true
          [plugins."io.containerd.grpc.v1.cri".cni]
            bin_dir = "\(Node.plugins)"
            conf_dir = "\(networks)"
          [plugins."io.containerd.grpc.v1.cri".containerd]
            snapshotter = "overlayfs"
          [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
            runtime_type = "io.containerd.runc.v2"
            [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
              SystemdCgroup = false
        """

    private static func start(on node: Node) throws -> ChildProcess {
        try node.spawn(["containerd", "-c", "\(folder)/config.toml"])
    }

    /// Waits until the runtime says that pods can be run.
    func waitReady(timeout: Double = 20) throws {
        try waitUntil("containerd ready", timeout: timeout, every: 0.05) {
            guard process.isRunning else { throw LabError.ended("containerd", text: process.standardError) }
            return try cri.network().isReady
        }
    }

    var log: String { process.standardError }

    /// SIGKILL: what it was doing stays half done. Its shims and their containers live on.
    func kill() throws {
        let shims = Set(node.processes("containerd-shim"))
        let victims = node.processes("containerd").filter { !shims.contains($0) }
        _ = try node.result(of: ["kill", "-KILL"] + victims.map { "\($0)" })
        try process.wait(timeout: 10)
    }

    func restart() throws {
        process = try Self.start(on: node)
        try waitReady()
    }

    /// Waits until the runtime has read a conflist with our plugin in it.
    func waitForPlugin() throws {
        try waitUntil("warren-cni in containerd's configuration", timeout: 10, every: 0.05) {
            try cri.networkConfiguration().contains("warren-cni")
        }
    }

    func write(conflist: Conflist) throws { try node.write(conflist.text, to: Self.conflist) }

    /// Puts a file beside the conflist; nil removes it.
    func writeBeside(_ name: String, _ text: String?) throws {
        guard let text else { return removeFile("\(node.root)\(Self.networks)/\(name)") }
        try node.write(text, to: "\(Self.networks)/\(name)")
    }

    func sandbox(_ name: String) -> SandboxConfiguration {
        SandboxConfiguration(name: name, parent: node.sandbox.name)
    }

    func importImage(_ archive: String) throws {
        try node.run("ctr", "-a", Self.socket, "-n", "k8s.io", "images", "import", archive, timeout: 120)
    }

    /// Runs a program of an image to its end, without a network.
    func runOnce(_ image: String, _ words: [String]) throws -> Output {
        try node.result(
            of: ["ctr", "-a", Self.socket, "-n", "k8s.io", "run", "--rm", "--read-only", image, "once"] + words)
    }
}
