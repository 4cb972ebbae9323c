package import Addressing

/// The result of ADD: interfaces, addresses and routes of an attachment, over those of the plugins before us.
///
/// What is not understood is kept as it came. The JSON differs between versions in one thing only that we touch: up
/// to 0.4.0 each of `ips` says its `version`, from 1.0.0 on it must not (specification 1.0.0, "Changed").
package struct Result: Hashable, Sendable {
    private var members: [String: JSONValue]
    package private(set) var interfaces: [Interface]
    package private(set) var addresses: [AttachedAddress]
    private var routes: [JSONValue]

    package struct Interface: Hashable, Sendable {
        package let name: String
        /// The path of the namespace it is in; nil or empty for the host's.
        package let sandbox: String?
        fileprivate let json: JSONValue
        /// Of our interface: other plugins' keys are left as they are.
        fileprivate var mtu: UInt32?
    }

    package struct AttachedAddress: Hashable, Sendable {
        package let prefix: IPPrefix
        /// Which of `interfaces` has it.
        package let interface: Int?
        fileprivate let json: JSONValue
    }

    /// An empty result, for a plugin that is alone.
    package init(dns: JSONValue? = nil) {
        members = ["dns": dns ?? .object([:])]
        interfaces = []
        addresses = []
        routes = []
    }

    /// What the plugins before us returned, in any version this plugin speaks.
    package init(previous: JSONValue) throws(CNIError) {
        guard case .object(let members) = previous else {
            throw .undecodable("decode prevResult: not an object")
        }
        _ = try CNIVersion(supported: members["cniVersion"]?.text)
        func list(_ key: String) throws(CNIError) -> [JSONValue] {
            guard let value = members[key], value != .null else { return [] }
            guard let elements = value.elements else { throw .undecodable("decode prevResult: \(key) is not an array") }
            return elements
        }
        self.members = members
        var interfaces: [Interface] = []
        for json in try list("interfaces") {
            guard let name = json["name"]?.text else {
                throw .undecodable("decode prevResult: an interface has no name")
            }
            interfaces.append(Interface(name: name, sandbox: json["sandbox"]?.text, json: json))
        }
        var addresses: [AttachedAddress] = []
        for json in try list("ips") {
            guard let text = json["address"]?.text, let prefix = IPPrefix(text) else {
                throw .undecodable("decode prevResult: \(json["address"]?.text ?? "an ip") is not an address")
            }
            let index = json["interface"]?.integer.map { Int(clamping: $0) }
            if let index, !interfaces.indices.contains(index) {
                throw .undecodable("decode prevResult: \(text) is on interface \(index), which does not exist")
            }
            addresses.append(AttachedAddress(prefix: prefix, interface: index, json: json))
        }
        self.interfaces = interfaces
        self.addresses = addresses
        routes = try list("routes")
    }

    package var dns: JSONValue? { members["dns"] }

    /// Where the routes lead; those that can't be read are passed over.
    package var destinations: [IPPrefix] {
        routes.compactMap { $0["dst"]?.text.flatMap { IPPrefix($0)?.masked } }
    }

    /// Adds a layer 3 interface with its addresses and routes after everybody else's, so that the pod's first address
    /// stays the primary plugin's.
    ///
    /// A TUN has no MAC: it is given as zeros, because podman rejects an empty one.
    package mutating func append(
        interface name: String, sandbox: String, mtu: UInt32, addresses: [IPPrefix], routes destinations: [IPPrefix]
    ) {
        let index = interfaces.count
        interfaces.append(
            Interface(
                name: name, sandbox: sandbox,
                json: .object([
                    "name": .string(name), "mac": .string("00:00:00:00:00:00"), "sandbox": .string(sandbox),
                ]), mtu: mtu))
        for prefix in addresses {
            let json = JSONValue.object([
                "address": .string(prefix.description), "interface": .integer(Int64(index)),
            ])
            self.addresses.append(AttachedAddress(prefix: prefix, interface: index, json: json))
        }
        routes += destinations.map { .object(["dst": .string($0.description)]) }
    }

    /// The result as a runtime that speaks `version` expects it.
    package func json(version: CNIVersion) -> JSONValue {
        var members = members
        members["cniVersion"] = .string(version.rawValue)
        // An interface's mtu came with 1.1.0.
        members["interfaces"] = .array(
            interfaces.map { interface in
                guard case .object(var json) = interface.json, version >= .v1_1_0, let mtu = interface.mtu else {
                    return interface.json
                }
                json["mtu"] = .integer(Int64(mtu))
                return .object(json)
            })
        members["ips"] = .array(
            addresses.map { address in
                guard case .object(var json) = address.json else { return address.json }
                json["version"] = version < .v1_0_0 ? .string(address.prefix.address.isIPv6 ? "6" : "4") : nil
                return .object(json)
            })
        members["routes"] = routes.isEmpty ? members["routes"].flatMap { $0 == .null ? nil : $0 } : .array(routes)
        return .object(members)
    }
}
