import Foundation
import Lab

/// What kubelet makes of a pod: a sandbox, volumes, and containers with the security that the pod asks for.
final class Kubelet {
    let containerd: Containerd
    private var pods: [String: RunningPod] = [:]

    struct RunningPod {
        let manifest: [String: Any]
        let configuration: SandboxConfiguration
        let sandbox: String
        var containers: [String: String] = [:]
        var attempts: [String: Int] = [:]
    }

    private static let volumes = "\(Node.folder)/volumes"

    init(_ containerd: Containerd) { self.containerd = containerd }

    private var cri: CRI { containerd.cri }

    func pod(_ name: String) throws -> RunningPod {
        guard let pod = pods[name] else { throw LabError.unexpected("no pod \(name)") }
        return pod
    }

    /// Runs the sandbox and every container.
    func run(_ manifest: [String: Any]) throws {
        guard let name = (manifest["metadata"] as? [String: Any])?["name"] as? String else {
            throw LabError.unexpected("a pod without a name")
        }
        let configuration = containerd.sandbox(name)
        try containerd.node.run("mkdir", "-p", "\(SandboxConfiguration.logs)/\(name)")
        let sandbox = try cri.runSandbox(configuration)
        pods[name] = RunningPod(manifest: manifest, configuration: configuration, sandbox: sandbox)
        try makeVolumes(name, manifest)
        for container in Self.containers(manifest) {
            try start(container["name"] as? String ?? "", of: name)
        }
    }

    /// Creates and starts one container, anew if there was one.
    func start(_ container: String, of name: String) throws {
        var pod = try pod(name)
        guard let specification = Self.containers(pod.manifest).first(where: { $0["name"] as? String == container })
        else { throw LabError.unexpected("\(name) has no container \(container)") }
        let attempt = pod.attempts[container, default: -1] + 1
        let request: [String: Any] = [
            "pod_sandbox_id": pod.sandbox, "sandbox_config": pod.configuration.message,
            "config": try message(specification, attempt: attempt, pod: name),
        ]
        guard let id = try cri.call("CreateContainer", request)["container_id"] as? String else {
            throw LabError.unexpected("CreateContainer gave no id")
        }
        try cri.call("StartContainer", ["container_id": id])
        pod.containers[container] = id
        pod.attempts[container] = attempt
        pods[name] = pod
    }

    /// Ends a container as kubelet does, SIGKILL after `grace` seconds, and removes it.
    func stop(_ container: String, of name: String, grace: Int) throws {
        guard let id = try pod(name).containers[container] else {
            throw LabError.unexpected("no container \(container)")
        }
        try cri.call("StopContainer", ["container_id": id, "timeout": grace])
        try cri.call("RemoveContainer", ["container_id": id])
    }

    func remove(_ name: String) throws {
        guard let pod = pods.removeValue(forKey: name) else { return }
        try cri.stopSandbox(pod.sandbox)
        try cri.removeSandbox(pod.sandbox)
        try containerd.node.run(
            "sh", "-c", "umount -q \(Self.volumes)/\(name)/* || true; rm -rf \(Self.volumes)/\(name)")
    }

    private static func containers(_ manifest: [String: Any]) -> [[String: Any]] {
        specification(manifest)["containers"] as? [[String: Any]] ?? []
    }

    private static func specification(_ manifest: [String: Any]) -> [String: Any] {
        manifest["spec"] as? [String: Any] ?? [:]
    }

    /// An emptyDir in memory belongs to root and the pod's fsGroup, for which it is writable and set-group-id.
    private func makeVolumes(_ name: String, _ manifest: [String: Any]) throws {
        let security = Self.specification(manifest)["securityContext"] as? [String: Any]
        let group = security?["fsGroup"] as? Int ?? 0
        for volume in Self.specification(manifest)["volumes"] as? [[String: Any]] ?? [] where volume["emptyDir"] != nil
        {
            let folder = "\(Self.volumes)/\(name)/\(volume["name"] ?? "")"
            try containerd.node.run("mkdir", "-p", folder)
            try containerd.node.run("mount", "-t", "tmpfs", "-o", "size=1m,mode=2777,gid=\(group)", "tmpfs", folder)
        }
    }

    /// The container's specification in the words of CRI.
    private func message(_ container: [String: Any], attempt: Int, pod: String) throws -> [String: Any] {
        let manifest = try self.pod(pod).manifest
        let volumes = Self.specification(manifest)["volumes"] as? [[String: Any]] ?? []
        let mounts = try (container["volumeMounts"] as? [[String: Any]] ?? []).compactMap { mount -> [String: Any]? in
            guard let volume = volumes.first(where: { $0["name"] as? String == mount["name"] as? String }) else {
                return nil
            }
            var path =
                (volume["hostPath"] as? [String: Any])?["path"] as? String
                ?? "\(Self.volumes)/\(pod)/\(volume["name"] ?? "")"
            if let part = mount["subPath"] as? String {
                path += "/\(part)"
                try containerd.node.run("mkdir", "-p", path)
            }
            return [
                "container_path": mount["mountPath"] ?? "", "host_path": path, "readonly": mount["readOnly"] ?? false,
            ]
        }
        let security = container["securityContext"] as? [String: Any] ?? [:]
        let capabilities = security["capabilities"] as? [String: Any] ?? [:]
        let name = container["name"] as? String ?? ""
        return [
            "metadata": ["name": name, "attempt": attempt], "image": ["image": container["image"] ?? ""],
            "command": container["command"] ?? [], "log_path": "\(name).log", "mounts": mounts,
            "linux": [
                "security_context": [
                    "run_as_user": ["value": security["runAsUser"] ?? 0],
                    "run_as_group": ["value": security["runAsGroup"] ?? 0],
                    "readonly_rootfs": security["readOnlyRootFilesystem"] ?? false,
                    "no_new_privs": !(security["allowPrivilegeEscalation"] as? Bool ?? true),
                    "capabilities": ["drop_capabilities": capabilities["drop"] ?? []],
                    // 0 is RuntimeDefault, 1 unconfined.
                    "seccomp": ["profile_type": security["seccompProfile"] == nil ? 1 : 0],
                    "namespace_options": SandboxConfiguration.namespaceOptions,
                ] as [String: Any]
            ],
        ]
    }
}

extension Kubelet: PodRuntime {
    var node: Node { containerd.node }

    func execute(_ words: [String], in container: String, of pod: String) throws -> ContainerAnswer {
        guard let id = try self.pod(pod).containers[container] else {
            throw LabError.unexpected("no container \(container)")
        }
        let answer = try cri.call("ExecSync", ["container_id": id, "cmd": words, "timeout": 20])
        return ContainerAnswer(
            status: answer["exit_code"] as? Int ?? 0, standardOutput: answer["stdout"] as? String ?? "",
            standardError: answer["stderr"] as? String ?? "")
    }

    private func status(of container: String, of pod: String) throws -> [String: Any] {
        guard let id = try self.pod(pod).containers[container] else {
            throw LabError.unexpected("no container \(container)")
        }
        return try cri.call("ContainerStatus", ["container_id": id])["status"] as? [String: Any] ?? [:]
    }

    /// CONTAINER_RUNNING is 1, CONTAINER_EXITED 2.
    func isRunning(_ container: String, of pod: String) throws -> Bool {
        try status(of: container, of: pod)["state"] as? Int == 1
    }

    func exitStatus(of container: String, of pod: String) throws -> Int {
        try status(of: container, of: pod)["exit_code"] as? Int ?? 0
    }

    func log(of container: String, of pod: String) throws -> String {
        node.text("\(SandboxConfiguration.logs)/\(pod)/\(container).log")
    }
}
