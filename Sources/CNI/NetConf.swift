package import Addressing
import FoundationEssentials

/// The network configuration from stdin, decoded but not yet judged: DEL and VERSION must accept what ADD refuses.
///
/// The keys are documented in `cni/README.md`. Unknown keys are ignored, as everywhere in CNI.
package struct NetConf: Decodable, Sendable {
    package let cniVersion: String?
    package let name: String?
    package let mesh: String?
    package let node: Int?
    package let ipv4Range: String?
    package let rangeStart: String?
    package let rangeEnd: String?
    package let ownerUid: Int?
    package let interface: String?
    package let mtu: Int?
    package let dataDir: String?
    package let routes: [Destination]?
    package let prevResult: JSONValue?
    package let runtimeConfig: JSONValue?
    package let args: JSONValue?
    package let ipam: JSONValue?
    package let validAttachments: [ValidAttachment]?

    /// `{"dst": "10.0.0.0/8"}`, as in the specification's routes.
    package struct Destination: Decodable, Sendable {
        package let dst: String
    }

    /// What GC must leave alone.
    package struct ValidAttachment: Decodable, Hashable, Sendable {
        package let containerID: String
        package let ifname: String
    }

    private enum CodingKeys: String, CodingKey {
        case cniVersion, name, mesh, node, ipv4Range, rangeStart, rangeEnd, ownerUid, interface, mtu, dataDir, routes
        case prevResult, runtimeConfig, args, ipam
        case validAttachments = "cni.dev/valid-attachments"
        case attachments = "cni.dev/attachments"
    }

    package init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        cniVersion = try values.decodeIfPresent(String.self, forKey: .cniVersion)
        name = try values.decodeIfPresent(String.self, forKey: .name)
        mesh = try values.decodeIfPresent(String.self, forKey: .mesh)
        node = try values.decodeIfPresent(Int.self, forKey: .node)
        ipv4Range = try values.decodeIfPresent(String.self, forKey: .ipv4Range)
        rangeStart = try values.decodeIfPresent(String.self, forKey: .rangeStart)
        rangeEnd = try values.decodeIfPresent(String.self, forKey: .rangeEnd)
        ownerUid = try values.decodeIfPresent(Int.self, forKey: .ownerUid)
        interface = try values.decodeIfPresent(String.self, forKey: .interface)
        mtu = try values.decodeIfPresent(Int.self, forKey: .mtu)
        dataDir = try values.decodeIfPresent(String.self, forKey: .dataDir)
        routes = try values.decodeIfPresent([Destination].self, forKey: .routes)
        prevResult = try values.decodeIfPresent(JSONValue.self, forKey: .prevResult)
        runtimeConfig = try values.decodeIfPresent(JSONValue.self, forKey: .runtimeConfig)
        args = try values.decodeIfPresent(JSONValue.self, forKey: .args)
        ipam = try values.decodeIfPresent(JSONValue.self, forKey: .ipam)
        // The first text of 1.1.0 had the second name, and libcni sends both.
        validAttachments =
            try values.decodeIfPresent([ValidAttachment].self, forKey: .validAttachments)
            ?? values.decodeIfPresent([ValidAttachment].self, forKey: .attachments)
    }

    package init(parsing bytes: [UInt8]) throws(CNIError) {
        do { self = try JSONDecoder().decode(NetConf.self, from: Data(bytes)) } catch {
            throw .undecodable("decode network configuration: \(decodingFault(error))")
        }
    }

    /// The network's name, safe as a folder's name.
    package func networkName() throws(CNIError) -> String {
        guard let name, !name.isEmpty else { throw .invalidConfiguration("read name: missing network name") }
        guard Invocation.isIdentifier(name) else {
            throw .invalidConfiguration("read name \(name): invalid characters in network name")
        }
        return name
    }

    package func interfaceName() throws(CNIError) -> String {
        let name = interface ?? "warren0"
        if let fault = Invocation.interfaceNameFault(name) {
            throw .invalidConfiguration("read interface \(name): \(fault)")
        }
        return name
    }

    /// Where the network's store is.
    package func storePath() throws(CNIError) -> String {
        let folder = dataDir ?? "/run/warren/cni"
        guard folder.hasPrefix("/"), !folder.utf8.contains(0) else {
            throw .invalidConfiguration("read dataDir \(folder): not an absolute path")
        }
        return try "\(folder)/networks/\(networkName())"
    }

    /// The addresses the pod asks for: the first of runtimeConfig.ips, args.cni.ips and CNI_ARGS `IP=` that has any.
    package func requestedAddresses(_ arguments: Arguments) throws(CNIError) -> [IPAddress] {
        // containerd capitalises the keys in runtimeConfig and may send null.
        var capability: JSONValue?
        if case .object(let members) = runtimeConfig {
            capability = members.first { $0.key.lowercased() == "ips" }?.value
        }
        for (source, value) in [("runtimeConfig.ips", capability), ("args.cni.ips", args?["cni"]?["ips"])] {
            guard let value, value != .null else { continue }
            guard let elements = value.elements else { throw .invalidConfiguration("read \(source): not an array") }
            var addresses: [IPAddress] = []
            for element in elements {
                guard let text = element.text, let prefix = IPPrefix(text) else {
                    throw .invalidConfiguration("read \(source): \(element.text ?? "an element") is not an address")
                }
                addresses.append(prefix.address)
            }
            if !addresses.isEmpty { return addresses }
        }
        return arguments.addresses
    }
}
