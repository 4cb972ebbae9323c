import Foundation

/// Executes the CNI plugin as a container runtime does: parameters in the environment, configuration on standard
/// input with the primary plugin's result in it, answer on standard output (CNI specification 1.0, sections 2 to 4).
package struct ContainerRuntime: Sendable {
    let sandbox: Sandbox
    let image: Image
    /// The nodes that the plugin is executed on, by the letters of their sites: each gives ports of its own to pods. Where
    /// there are none, it is executed on the machine itself, and gives none.
    let nodes: [String: Namespace]

    package init(sandbox: Sandbox, image: Image, nodes: [String: Namespace] = [:]) {
        self.sandbox = sandbox
        self.image = image
        self.nodes = nodes
    }

    /// The plugin's store of a site.
    package func dataDir(of site: Plan.Site) -> String {
        nodes[site.letter] == nil ? "\(sandbox.folder)/cni" : "\(sandbox.folder)/cni-\(site.letter)"
    }

    /// GC that keeps the pod: after somebody emptied its node's rules, its port is mapped again.
    package func collectGarbage(keeping pod: Pod, node: Int) throws {
        let valid = [["containerID": pod.containerID, "ifname": "eth0"]]
        let output = try execute(
            "GC", pod, node: node, previous: nil,
            overrides: ["cniVersion": "1.1.0", "cni.dev/valid-attachments": valid])
        guard output.succeeded else {
            throw LabError.command(["warren-cni", "GC"], status: output.status, text: output.text)
        }
    }

    /// An address of the result that is on our interface, without its prefix length.
    package struct Attachment: Sendable {
        package let ipv6: String
        package let ipv4: String?
        package let result: String
    }

    /// ADD: throws the plugin's own error text when it refuses.
    package func add(_ pod: Pod, node: Int) throws -> Attachment {
        let output = try execute("ADD", pod, node: node, previous: primaryResult(pod))
        guard output.succeeded else {
            throw LabError.command(["warren-cni", "ADD"], status: output.status, text: output.text)
        }
        guard let answer = try? JSONDecoder().decode(Result.self, from: Data(output.standardOutput.utf8)),
            let index = answer.interfaces.firstIndex(where: { $0.name == Plan.interface })
        else { throw LabError.unexpected("warren-cni ADD answered \(output.standardOutput)") }
        let addresses = answer.ips.filter { $0.interface == index }
            .map { String($0.address.prefix { $0 != "/" }) }
        guard let ipv6 = addresses.first(where: { $0.contains(":") }) else {
            throw LabError.unexpected("no IPv6 address in \(output.standardOutput)")
        }
        return Attachment(
            ipv6: ipv6, ipv4: addresses.first { !$0.contains(":") }, result: output.standardOutput)
    }

    /// DEL, which never fails for missing state.
    package func delete(_ pod: Pod, node: Int) throws {
        let output = try execute("DEL", pod, node: node, previous: nil)
        guard output.succeeded else {
            throw LabError.command(["warren-cni", "DEL"], status: output.status, text: output.text)
        }
    }

    /// One call of the plugin; `overrides` replaces configuration keys.
    package func execute(
        _ command: String, _ pod: Pod, node: Int, previous: [String: Any]?, overrides: [String: Any] = [:]
    ) throws -> Output {
        var configuration: [String: Any] = [
            "cniVersion": "1.0.0", "name": Plan.meshName, "type": "warren-cni", "mesh": Plan.meshPrefix, "node": node,
            "ipv4Range": Plan.meshIPv4, "ownerUid": Int(Plan.sidecarUID), "interface": Plan.interface,
            "dataDir": dataDir(of: pod.site),
        ]
        let place = nodes[pod.site.letter]
        if place != nil {
            let block = Plan.meshIPv4.split(separator: ".").prefix(2).joined(separator: ".") + ".\(node)"
            configuration["rangeStart"] = "\(block).1"
            configuration["rangeEnd"] = "\(block).254"
            configuration["nodePorts"] = Plan.nodePorts
        }
        configuration["prevResult"] = previous
        configuration.merge(overrides) { $1 }
        let input = try JSONSerialization.data(withJSONObject: configuration, options: [.sortedKeys])
        var environment = Image.environment(folder: image.folder)
        environment["CNI_COMMAND"] = command
        environment["CNI_CONTAINERID"] = pod.containerID
        environment["CNI_NETNS"] = pod.namespace.path
        environment["CNI_IFNAME"] = "eth0"
        environment["CNI_PATH"] = image.folder
        environment["CNI_ARGS"] =
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=\(pod.name);"
            + "K8S_POD_INFRA_CONTAINER_ID=\(pod.containerID)"
        return try sandbox.result(
            of: (place?.enter ?? []) + ["\(image.folder)/warren-cni"], environment: environment,
            input: String(decoding: input, as: UTF8.self))
    }

    /// What the primary plugin (a bridge, say) answered for `eth0`.
    package func primaryResult(_ pod: Pod) throws -> [String: Any] {
        let mac = try pod.run("cat", "/sys/class/net/eth0/address").trimmingCharacters(in: .whitespacesAndNewlines)
        return [
            "cniVersion": "1.0.0",
            "interfaces": [["name": "eth0", "mac": mac, "sandbox": pod.namespace.path]],
            "ips": [["address": "\(pod.address)/24", "gateway": pod.site.insideGateway, "interface": 0]],
            "routes": [["dst": "0.0.0.0/0", "gw": pod.site.insideGateway]],
            "dns": [String: Any](),
        ]
    }

    private struct Result: Decodable {
        struct Interface: Decodable { let name: String }
        struct Address: Decodable {
            let address: String
            let interface: Int?
        }
        let interfaces: [Interface]
        let ips: [Address]
    }
}
