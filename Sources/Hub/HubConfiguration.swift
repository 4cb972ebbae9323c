package import Addressing
package import Directory
package import Membership
package import Sodium

/// What a hub is, as `hub.json` in its folder says: public facts only, the keys are in files of their own.
package struct HubConfiguration: Equatable, Sendable {
    package let mesh: String
    /// The mesh's virtual addresses: one IPv6 /48, and an IPv4 range if there is one.
    package let ranges: [IPPrefix]
    /// This hub's TLS address, as agents reach it.
    package let address: HubAddress
    /// The authority that this hub belongs to: its own key's public part, or another hub's.
    package let authorityKey: Ed25519.PublicKey
    /// The mesh's relays as agents reach them. Without an id it is this hub's own.
    package var relays: [AdvertisedRelay]
    /// STUN servers beside the relays.
    package var stun: [Endpoint]
    /// Where agents find the directory when it is not here.
    package var directory: RemoteDirectory?

    package struct AdvertisedRelay: Equatable, Sendable {
        package let id: AgentID?
        package let endpoint: Endpoint
        /// Its TLS port; without it this hub's own relay is reached at the hub's TLS address.
        package let stream: MeshInfo.Stream?

        package init(id: AgentID?, endpoint: Endpoint, stream: MeshInfo.Stream? = nil) {
            self.id = id
            self.endpoint = endpoint
            self.stream = stream
        }

        /// `IP:PORT`, or `ID@IP:PORT` for another hub's relay; and `,HOST:PORT,PIN` after it for a TLS port.
        package init?(_ text: String) {
            let fields = text.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
            guard fields.count == 1 || fields.count == 3 else { return nil }
            let parts = fields[0].split(separator: "@", maxSplits: 1, omittingEmptySubsequences: false)
            guard let last = parts.last, let endpoint = Endpoint(String(last)), endpoint.port > 0 else { return nil }
            self.endpoint = endpoint
            if parts.count == 1 {
                id = nil
            } else {
                guard let id = AgentID(String(parts[0])) else { return nil }
                self.id = id
            }
            if fields.count == 3 {
                guard let address = HubAddress(fields[1]), let pin = Base64.decode(fields[2]).flatMap({ Bytes32($0) })
                else { return nil }
                stream = MeshInfo.Stream(address: address, pin: pin)
            } else {
                stream = nil
            }
        }

        package var text: String {
            let first = id.map { "\($0)@\(endpoint)" } ?? endpoint.description
            return stream.map { "\(first),\($0.address),\($0.pin.base64)" } ?? first
        }
    }

    package struct RemoteDirectory: Equatable, Sendable {
        package let address: HubAddress
        package let pin: Bytes32

        package init(address: HubAddress, pin: Bytes32) {
            self.address = address
            self.pin = pin
        }
    }

    package init(
        mesh: String, ranges: [IPPrefix], address: HubAddress, authorityKey: Ed25519.PublicKey,
        relays: [AdvertisedRelay], stun: [Endpoint], directory: RemoteDirectory?
    ) {
        self.mesh = mesh
        self.ranges = ranges
        self.address = address
        self.authorityKey = authorityKey
        self.relays = relays
        self.stun = stun
        self.directory = directory
    }

    var json: JSONValue {
        var members: [JSONValue.Member] = [
            .init("mesh", .string(mesh)), .init("ranges", .array(ranges.map { .string($0.description) })),
            .init("address", .string(address.description)), .init("authority", .string(authorityKey.base64)),
            .init("relays", .array(relays.map { .string($0.text) })),
            .init("stun", .array(stun.map { .string($0.description) })),
        ]
        if let directory {
            members.append(.init("directory", .string(directory.address.description)))
            members.append(.init("directoryPin", .string(directory.pin.base64)))
        }
        return .object(members)
    }

    init?(json: JSONValue) {
        guard let mesh = json["mesh"]?.string, AgentName.isValidMesh(mesh), let ranges = json["ranges"]?.strings,
            let address = json["address"]?.string.flatMap({ HubAddress($0) }),
            let authorityKey = json["authority"]?.string.flatMap({ Base64.decode($0) }).flatMap({ Bytes32($0) }),
            let relays = json["relays"]?.strings, let stun = json["stun"]?.strings
        else { return nil }
        self.mesh = mesh
        self.ranges = ranges.compactMap { IPPrefix($0) }
        self.address = address
        self.authorityKey = authorityKey
        self.relays = relays.compactMap { AdvertisedRelay($0) }
        self.stun = stun.compactMap { Endpoint($0) }
        if let text = json["directory"]?.string {
            guard let address = HubAddress(text),
                let pin = json["directoryPin"]?.string.flatMap({ Base64.decode($0) }).flatMap({ Bytes32($0) })
            else { return nil }
            directory = RemoteDirectory(address: address, pin: pin)
        } else {
            directory = nil
        }
        guard self.ranges.count == ranges.count, self.relays.count == relays.count, self.stun.count == stun.count else {
            return nil
        }
    }
}
