package import Addressing
import FoundationEssentials
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

    private struct Document: Decodable {
        struct Relay: Decodable {
            var id: String
            var udp: [String]
            var tls: String?
            var pin: String?
        }
        var relays: [Relay]?
        var stun: [String]?
    }

    /// From what a hub answers to `GET /healthz`; nil when that is not such a document. At most 16 of each are taken.
    package init?(health document: [UInt8]) {
        guard let decoded = try? JSONDecoder().decode(Document.self, from: Data(document)) else { return nil }
        relays = (decoded.relays ?? []).prefix(16).map { relay in
            Relay(
                id: CertificateName.printable(relay.id), udp: relay.udp.prefix(4).compactMap { Endpoint($0) },
                tls: relay.tls.flatMap { HubAddress($0) },
                pin: relay.pin.flatMap { Base64.decode($0) }.flatMap { Bytes32($0) })
        }
        stun = (decoded.stun ?? []).prefix(16).compactMap { Endpoint($0) }
    }

    /// The UDP endpoints of relays and STUN servers, each once.
    var servers: [Endpoint] {
        var seen: Set<Endpoint> = []
        return (stun + relays.flatMap(\.udp)).filter { seen.insert($0).inserted }
    }
}
