import Foundation
import Lab

/// A pod as the injector makes it of an application's, for a runtime that has no API server. Changed is only what a kubelet does before it asks the runtime: names are filled in, the token's volume is a folder of the node, and
/// the native sidecar, whose order the kubelet keeps, is an ordinary container.
enum InjectedPod {
    /// As `warren inject` prints it, with the shipped image.
    static func make(_ name: String, token: String, on node: Node) throws -> [String: Any] {
        let injected = try node.sandbox.result(
            of: [
                "\(node.image.folder)/warren", "inject", "-f", "-", "--image", ShippedImages.sidecar, "--device",
                "node",
            ],
            environment: Image.environment(folder: node.image.folder), input: application(name))
        guard injected.succeeded else { throw LabError.unexpected("warren inject: \(injected.text)") }
        let json = try node.sandbox.output(
            of: ["/usr/bin/python3", "-c", "import json, sys, yaml; print(json.dumps(yaml.safe_load(sys.stdin)))"],
            input: injected.standardOutput)
        return try adapted(json, name, token: token, on: node)
    }

    /// As the injector's webhook admits it, with the image of these tests.
    static func make(
        _ name: String, token: String, by injector: InjectorService, on node: Node
    ) throws -> [String: Any] {
        try adapted(injector.admitted(application(name)), name, token: token, on: node)
    }

    private static func application(_ name: String) -> String {
        """
        apiVersion: v1
        kind: Pod
        metadata: { name: \(name), labels: { warren.dev/inject: enabled } }
        spec:
          containers:
            - name: \(PodTemplate.application)
              image: \(ContainerImage.name)
              command: [/bin/busybox, httpd, -f, -p, "\(ContainerImage.pagePort)", -h, /www]
              securityContext:
                { runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532, allowPrivilegeEscalation: false,
                  readOnlyRootFilesystem: true, capabilities: { drop: [ALL] },
                  seccompProfile: { type: RuntimeDefault } }
        """
    }

    private static func adapted(
        _ json: String, _ name: String, token: String, on node: Node
    ) throws -> [String: Any] {
        guard var pod = try JSONSerialization.jsonObject(with: Data(json.utf8)) as? [String: Any],
            var specification = pod["spec"] as? [String: Any],
            var sidecar = (specification.removeValue(forKey: "initContainers") as? [[String: Any]])?.first,
            let containers = specification["containers"] as? [[String: Any]],
            let volumes = specification["volumes"] as? [[String: Any]]
        else { throw LabError.unexpected("not injected: \(json)") }
        let folder = "\(Node.folder)/tokens/\(name)"
        try node.run("mkdir", "-p", folder)
        try node.write(token, to: "\(folder)/token", mode: 0o444)
        sidecar["command"] = (sidecar["command"] as? [String])?.map {
            $0.replacingOccurrences(of: "$(POD_NAME)", with: name)
        }
        specification["containers"] = [sidecar] + containers
        specification["volumes"] = volumes.map { volume in
            volume["projected"] == nil
                ? volume : ["name": volume["name"] ?? "", "hostPath": ["path": folder, "type": "Directory"]]
        }
        pod["spec"] = specification
        return pod
    }
}
