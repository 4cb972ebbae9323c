import Foundation
import Lab

/// podman's `kube play` on a node, with runc and the CNI backend.
struct Podman {
    let node: Node
    static let networks = "\(Node.folder)/podman/net.d"

    /// Limits are given explicitly, because the defaults are above what an unprivileged virtual machine may set.
    init(on node: Node, conflist: Conflist) throws {
        self.node = node
        try node.run("mkdir", "-p", Self.networks)
        try node.write(#"{"default": [{"type": "insecureAcceptAnything"}]}"#, to: "/etc/containers/policy.json")
        try node.write(
            """
            [containers]
            default_ulimits = ["nofile=16384:16384", "nproc=8192:8192"]
            log_driver = "k8s-file"
            [network]
            network_backend = "cni"
            cni_plugin_dirs = ["\(Node.plugins)"]
            network_config_dir = "\(Self.networks)"
            [engine]
            cgroup_manager = "cgroupfs"
            runtime = "runc"
            events_logger = "none"
            """, to: "/etc/containers/containers.conf")
        try node.write(
            """
            [storage]
            driver = "overlay"
            runroot = "\(Node.folder)/podman/run"
            graphroot = "\(Node.folder)/podman/root"
            """, to: "/etc/containers/storage.conf")
        try node.write(conflist.text, to: "\(Self.networks)/10-warren.conflist")
    }

    /// `podman kube play`; JSON is YAML too.
    func play(_ pod: [String: Any]) throws {
        let document = String(
            decoding: try JSONSerialization.data(withJSONObject: pod, options: .withoutEscapingSlashes), as: UTF8.self)
        try node.run("podman", "kube", "play", "--network", Conflist.networkName, "-", input: document)
    }

    func down(_ pod: [String: Any]) throws {
        let document = String(
            decoding: try JSONSerialization.data(withJSONObject: pod, options: .withoutEscapingSlashes), as: UTF8.self)
        try node.run("podman", "kube", "down", "-", input: document)
    }
}

extension Podman: PodRuntime {
    func execute(_ words: [String], in container: String, of pod: String) throws -> ContainerAnswer {
        let output = try node.result(of: ["podman", "exec", "\(pod)-\(container)"] + words)
        return ContainerAnswer(
            status: Int(output.status), standardOutput: output.standardOutput, standardError: output.standardError)
    }

    func isRunning(_ container: String, of pod: String) throws -> Bool {
        try node.run("podman", "inspect", "--format", "{{.State.Running}}", "\(pod)-\(container)").hasPrefix("true")
    }

    func log(of container: String, of pod: String) throws -> String {
        try node.result(of: ["podman", "logs", "\(pod)-\(container)"]).text
    }

    func exitStatus(of container: String, of pod: String) throws -> Int {
        let text = try node.run("podman", "inspect", "--format", "{{.State.ExitCode}}", "\(pod)-\(container)")
        guard let status = Int(text.trimmingCharacters(in: .whitespacesAndNewlines)) else {
            throw LabError.unexpected("podman inspect: \(text)")
        }
        return status
    }
}
