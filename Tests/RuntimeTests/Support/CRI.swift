import Foundation
import Lab
import Linux

/// A client of a runtime's CRI socket, by way of `Programs/cri.py`. Any thread.
struct CRI: Sendable {
    /// The runtime refused or failed; the text is its own.
    struct Refusal: Error, CustomStringConvertible {
        let method: String
        let text: String
        var description: String { "\(method): \(text)" }
    }

    /// Where the client listens, as this process reaches it.
    let socket: String

    @discardableResult
    func call(_ method: String, _ request: [String: Any], timeout: Int = 60) throws -> [String: Any] {
        let question: [String: Any] = ["method": method, "request": request, "timeout": timeout]
        let connection = try UnixSocket.connect(path: socket)
        UnixSocket.setTimeout(connection, seconds: timeout + 5)
        try connection.writeAll(Array(try JSONSerialization.data(withJSONObject: question)) + [0x0a])
        let answer = try JSONSerialization.jsonObject(with: Data(connection.readToEnd(limit: 8 << 20)))
        guard let answer = answer as? [String: Any] else { throw LabError.unexpected("\(method): no answer") }
        if let text = answer["error"] as? String { throw Refusal(method: method, text: text) }
        return answer["response"] as? [String: Any] ?? [:]
    }

    /// The runtime's verdict on its network configuration: NetworkReady, and why not.
    func network() throws -> (isReady: Bool, reason: String) {
        let status = try call("Status", [:])["status"] as? [String: Any]
        let conditions = status?["conditions"] as? [[String: Any]] ?? []
        guard let network = conditions.first(where: { $0["type"] as? String == "NetworkReady" }) else {
            throw LabError.unexpected("Status has no NetworkReady: \(conditions)")
        }
        return (network["status"] as? Bool ?? false, network["message"] as? String ?? "")
    }

    /// The conflist that the runtime uses, as it tells it.
    func networkConfiguration() throws -> String {
        (try call("Status", ["verbose": true])["info"] as? [String: String])?["cniconfig"] ?? ""
    }

    func runSandbox(_ configuration: SandboxConfiguration) throws -> String {
        let answer = try call("RunPodSandbox", ["config": configuration.message])
        guard let id = answer["pod_sandbox_id"] as? String else {
            throw LabError.unexpected("RunPodSandbox: \(answer)")
        }
        return id
    }

    func stopSandbox(_ id: String) throws { try call("StopPodSandbox", ["pod_sandbox_id": id]) }

    func removeSandbox(_ id: String) throws { try call("RemovePodSandbox", ["pod_sandbox_id": id]) }

    func sandboxes() throws -> [String] {
        let items = try call("ListPodSandbox", [:])["items"] as? [[String: Any]] ?? []
        return items.compactMap { $0["id"] as? String }
    }

    /// What the plugins have given a sandbox.
    struct Network {
        /// The pod's address, as Kubernetes shows it.
        let address: String
        /// Those on `warren0`.
        let mesh: [String]
        let netns: String
    }

    func network(of sandbox: String) throws -> Network {
        let answer = try call("PodSandboxStatus", ["pod_sandbox_id": sandbox, "verbose": true])
        let status = answer["status"] as? [String: Any]
        let info = (answer["info"] as? [String: String])?["info"] ?? ""
        let details = try JSONSerialization.jsonObject(with: Data(info.utf8)) as? [String: Any]
        let specification = (details?["runtimeSpec"] as? [String: Any])?["linux"] as? [String: Any]
        let namespaces = specification?["namespaces"] as? [[String: Any]] ?? []
        let interfaces = (details?["cniResult"] as? [String: Any])?["Interfaces"] as? [String: Any]
        let mesh = (interfaces?[Plan.interface] as? [String: Any])?["IPConfigs"] as? [[String: Any]] ?? []
        guard let address = (status?["network"] as? [String: Any])?["ip"] as? String,
            let netns = namespaces.first(where: { $0["type"] as? String == "network" })?["path"] as? String
        else { throw LabError.unexpected("PodSandboxStatus: \(answer)") }
        return Network(address: address, mesh: mesh.compactMap { $0["IP"] as? String }, netns: netns)
    }
}

/// A sandbox as kubelet asks for it.
struct SandboxConfiguration: Sendable {
    let name: String
    /// The control group of the node's pods.
    let parent: String
    var attempt = 0

    static let namespaceOptions = ["network": 0, "pid": 1, "ipc": 0]
    static let logs = "\(Node.folder)/logs"

    /// The same for the same name.
    var uid: String {
        let hash = name.utf8.reduce(UInt64(0xcbf2_9ce4_8422_2325)) { ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01b3 }
        return "4a1e0000-0000-4000-8000-" + String(hash | 1 << 63, radix: 16).suffix(12)
    }

    /// The pod's own control group, which is named after its uid.
    var group: String { "\(parent)/kubepods/besteffort/pod\(uid)" }

    var message: [String: Any] {
        [
            "metadata": ["name": name, "uid": uid, "namespace": "default", "attempt": attempt],
            "hostname": name, "log_directory": "\(Self.logs)/\(name)", "labels": ["app": name],
            "linux": [
                "cgroup_parent": "/\(group)", "security_context": ["namespace_options": Self.namespaceOptions],
            ] as [String: Any],
        ]
    }
}
