package import Addressing
package import Membership
package import Sodium

/// Where a mesh's relays and STUN servers are.
package struct MeshPlaces: Equatable, Sendable {
    package struct Relay: Equatable, Sendable {
        package var id: String
        package var udp: [Endpoint]
        /// Where it serves agents over TLS, and BLAKE2b-256 of its key; nil where that is not known.
        package var tls: HubAddress?
        package var pin: Bytes32?

        package init(id: String, udp: [Endpoint], tls: HubAddress? = nil, pin: Bytes32? = nil) {
            self.id = id
            self.udp = udp
            self.tls = tls
            self.pin = pin
        }
    }

    package var relays: [Relay] = []
    package var stun: [Endpoint] = []
    /// Addresses that no server may make us send to: the mesh's own.
    package var refusedTargets: [IPPrefix] = []

    package init(relays: [Relay] = [], stun: [Endpoint] = [], refusedTargets: [IPPrefix] = []) {
        self.relays = relays
        self.stun = stun
        self.refusedTargets = refusedTargets
    }

    /// From what a hub answers to `GET /healthz`; nil when that is not such a document. At most 16 of each are taken.
    package init?(health document: [UInt8]) {
        guard let said = JSONValue(parsing: document), said.isObject else { return nil }
        for place in said["relays"]?.array?.prefix(16) ?? [] {
            guard let relay = Relay(place) else { return nil }
            relays.append(relay)
        }
        stun = Self.endpoints(said["stun"], limit: 16)
    }

    /// What is an endpoint in a list of texts.
    fileprivate static func endpoints(_ list: JSONValue?, limit: Int) -> [Endpoint] {
        (list?.array ?? []).prefix(limit).compactMap { $0.string.flatMap { Endpoint($0) } }
    }

    /// The UDP endpoints of relays and STUN servers, each once.
    var servers: [Endpoint] {
        var seen: Set<Endpoint> = []
        return (stun + relays.flatMap(\.udp)).filter { seen.insert($0).inserted }
    }
}

extension MeshPlaces.Relay {
    fileprivate init?(_ place: JSONValue) {
        guard let id = place["id"]?.string else { return nil }
        self.init(
            id: CertificateName.printable(id), udp: MeshPlaces.endpoints(place["udp"], limit: 4),
            tls: place["tls"]?.string.flatMap { HubAddress($0) },
            pin: place["pin"]?.string.flatMap { Base64.decode($0) }.flatMap { Bytes32($0) })
    }
}
