import Foundation
import Lab

/// The pod of `Programs/agent.yaml` as a runtime takes it that has no API server. Only what such a runtime can't do is
/// changed: the native sidecar is an ordinary container, as before Kubernetes 1.29 (podman 4.3 would wait for its end);
/// the Secret is a folder of the node; images are those of the tests, and the application serves a page.
struct PodTemplate: Sendable {
    static let sidecar = "warren"
    static let application = "application"
    private static let tokens = "\(Node.folder)/tokens"
    private let manifest: String

    init(_ sandbox: Sandbox) throws {
        let program = """
            import json, sys, yaml
            print(json.dumps(next(one for one in yaml.safe_load_all(sys.stdin) if one["kind"] == "Pod")))
            """
        manifest = try sandbox.output(
            of: ["/usr/bin/python3", "-c", program],
            input: readText("\(Repository.folder)/Tests/RuntimeTests/Programs/agent.yaml"))
    }

    /// - Parameters:
    ///   - token: the join token, which becomes a file of the node.
    ///   - device: whether the sidecar's container has `/dev/net/tun`.
    ///   - gate: a file in the container for which the sidecar waits before it begins.
    func pod(
        _ name: String, token: String, device: Bool, gate: String? = nil, on node: Node
    ) throws -> [String: Any] {
        let folder = "\(Self.tokens)/\(name)"
        try node.run("mkdir", "-p", folder)
        try node.write(token, to: "\(folder)/token", mode: 0o440, owner: Plan.sidecarUID)
        guard var pod = try JSONSerialization.jsonObject(with: Data(manifest.utf8)) as? [String: Any],
            var specification = pod["spec"] as? [String: Any],
            let sidecar = (specification.removeValue(forKey: "initContainers") as? [[String: Any]])?
                .first(where: { $0["name"] as? String == Self.sidecar }),
            let application = (specification["containers"] as? [[String: Any]])?.first
        else { throw LabError.unexpected("agent.yaml: no pod with a sidecar and an application") }
        pod["metadata"] = ["name": name]
        specification["containers"] = [
            Self.adapted(sidecar: sidecar, name: name, device: device, gate: gate),
            Self.adapted(application: application),
        ]
        let volumes = specification["volumes"] as? [[String: Any]] ?? []
        let adapted =
            volumes.filter { $0["name"] as? String != "tun" }.map { volume in
                volume["secret"] == nil
                    ? volume : ["name": volume["name"] ?? "", "hostPath": ["path": folder, "type": "Directory"]]
            } + (device ? [["name": "tun", "hostPath": ["path": "/dev/net/tun", "type": "CharDevice"]]] : [])
        specification["volumes"] = Self.renamed(adapted, for: name)
        pod["spec"] = specification
        return pod
    }

    /// podman 4.3 takes an emptyDir for a named volume: of the same name in two pods, it is the same folder.
    private static func renamed(_ entries: [[String: Any]], for pod: String) -> [[String: Any]] {
        entries.map { $0.merging(["name": "\(pod)-\($0["name"] ?? "")"]) { $1 } }
    }

    private static func adapted(sidecar: [String: Any], name: String, device: Bool, gate: String?) -> [String: Any] {
        var container = sidecar
        for key in ["restartPolicy", "startupProbe"] { container[key] = nil }
        container["image"] = ContainerImage.name
        container["imagePullPolicy"] = "Never"
        let command = (sidecar["command"] as? [String] ?? []).enumerated().map { index, word in
            index == 0 ? "/bin/\(word)" : word.hasPrefix("--name=") ? "--name=\(name)" : word
        }
        let waiting = gate.map { gate in
            ["/bin/busybox", "sh", "-c", "until [ -e \(gate) ]; do /bin/busybox sleep 0.05; done; exec \"$0\" \"$@\""]
        }
        container["command"] = (waiting ?? []) + command
        let mounts = (sidecar["volumeMounts"] as? [[String: Any]] ?? []).filter { $0["name"] as? String != "tun" }
        container["volumeMounts"] = renamed(
            mounts + (device ? [["name": "tun", "mountPath": "/dev/net/tun"]] : []), for: name)
        return container
    }

    private static func adapted(application: [String: Any]) -> [String: Any] {
        var container = application
        container["image"] = ContainerImage.name
        container["imagePullPolicy"] = "Never"
        container["command"] = ["/bin/busybox", "httpd", "-f", "-p", "\(ContainerImage.pagePort)", "-h", "/www"]
        return container
    }
}
