package import Addressing

/// What a node knows of one attachment: who it is, where its namespace is and what was given to it.
///
/// It is a JSON file of the store (`Store+Attachments.swift`), the plugin's own memory between ADD and DEL and what
/// the node's agent reads. `AttachmentFolder` reads it without the lock.
///
///     {"version":1,"network":"warren","containerID":"abc","ifname":"eth0","netns":"/run/netns/x",
///      "netnsInode":4026532573,"netnsDevice":4,"interface":"warren0","ownerUid":64738,
///      "addresses":["fd77:6172:7265:1::7/128"],"pod":{"namespace":"default","name":"a","uid":"…"},
///      "nodePort":30001,"created":1764334221}
package struct AttachmentRecord: Hashable, Sendable {
    /// The newest layout this code writes. A reader takes any that has the members it needs.
    package static let version = 1

    package let network: String
    package let holder: Store.Holder
    package var netns: Netns
    /// The TUN's name inside the namespace.
    package var interface: String
    /// The uid that may attach to the TUN, as in the host's user namespace.
    package var ownerUid: UInt32
    package var addresses: [IPPrefix]
    /// Nil when the runtime told nothing of a pod.
    package var pod: Pod?
    /// The node's UDP port that leads to this attachment, if it has one.
    package var nodePort: UInt16?
    /// Seconds since 1970 at which ADD began.
    package var created: Int64

    /// A network namespace: the path that the runtime gave, and the identity it had then.
    package struct Netns: Hashable, Sendable {
        package let path: String
        package let inode: UInt64
        package let device: UInt64

        package init(path: String, inode: UInt64, device: UInt64) {
            self.path = path
            self.inode = inode
            self.device = device
        }

        /// The same namespace, whatever path led to it.
        package func isSame(as other: Netns) -> Bool { inode == other.inode && device == other.device }
    }

    /// The pod as CNI_ARGS name it (K8S_POD_*); podman gives a name only.
    package struct Pod: Hashable, Sendable {
        package let namespace: String?
        package let name: String?
        package let uid: String?

        package init(namespace: String?, name: String?, uid: String?) {
            self.namespace = namespace
            self.name = name
            self.uid = uid
        }
    }

    package init(
        network: String, holder: Store.Holder, netns: Netns, interface: String, ownerUid: UInt32,
        addresses: [IPPrefix], pod: Pod? = nil, nodePort: UInt16? = nil, created: Int64
    ) {
        self.network = network
        self.holder = holder
        self.netns = netns
        self.interface = interface
        self.ownerUid = ownerUid
        self.addresses = addresses
        self.pod = pod
        self.nodePort = nodePort
        self.created = created
    }
}

extension AttachmentRecord {
    package var json: JSONValue {
        var members: [String: JSONValue] = [
            "version": .integer(Int64(Self.version)), "network": .string(network),
            "containerID": .string(holder.containerID), "ifname": .string(holder.ifName),
            "netns": .string(netns.path), "netnsInode": .integer(Int64(clamping: netns.inode)),
            "netnsDevice": .integer(Int64(clamping: netns.device)), "interface": .string(interface),
            "ownerUid": .integer(Int64(ownerUid)),
            "addresses": .array(addresses.map { .string($0.description) }), "created": .integer(created),
        ]
        if let pod {
            let names = ["namespace": pod.namespace, "name": pod.name, "uid": pod.uid]
            members["pod"] = .object(names.compactMapValues { $0.map(JSONValue.string) })
        }
        if let nodePort { members["nodePort"] = .integer(Int64(nodePort)) }
        return .object(members)
    }

    /// The record that `bytes` hold. Unknown members are passed over; a missing or impossible one is an error that
    /// names it.
    package init(parsing bytes: [UInt8]) throws(CNIError) {
        let json = try JSONValue(parsing: bytes)
        func missing(_ key: String) -> CNIError { .undecodable("decode attachment record: no usable \(key)") }
        func text(_ key: String) throws(CNIError) -> String {
            guard let text = json[key]?.text, !text.isEmpty, !text.utf8.contains(0) else { throw missing(key) }
            return text
        }
        func number<Number: FixedWidthInteger>(_ key: String) throws(CNIError) -> Number {
            guard let number = json[key]?.integer.flatMap({ Number(exactly: $0) }) else { throw missing(key) }
            return number
        }
        network = try text("network")
        holder = Store.Holder(containerID: try text("containerID"), ifName: try text("ifname"))
        guard Invocation.isIdentifier(network) else { throw missing("network") }
        guard Invocation.isContainerID(holder.containerID) else { throw missing("containerID") }
        guard Invocation.interfaceNameFault(holder.ifName) == nil else { throw missing("ifname") }
        netns = Netns(path: try text("netns"), inode: try number("netnsInode"), device: try number("netnsDevice"))
        interface = try text("interface")
        guard Invocation.interfaceNameFault(interface) == nil else { throw missing("interface") }
        ownerUid = try number("ownerUid")
        created = try number("created")
        var addresses: [IPPrefix] = []
        for element in json["addresses"]?.elements ?? [] {
            guard let prefix = element.text.flatMap({ IPPrefix($0) }) else { throw missing("addresses") }
            addresses.append(prefix)
        }
        self.addresses = addresses
        pod = json["pod"].flatMap { pod in
            guard case .object = pod else { return nil }
            return Pod(namespace: pod["namespace"]?.text, name: pod["name"]?.text, uid: pod["uid"]?.text)
        }
        nodePort = json["nodePort"] == nil ? nil : try number("nodePort")
    }
}
