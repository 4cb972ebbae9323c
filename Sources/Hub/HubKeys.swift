import Addressing
package import Membership
import Sodium

/// What a hub's folder has but its database, as files in memory: what a Secret keeps where a hub runs in a cluster.
package struct HubKeys: Sendable {
    private static let names = ["authority.key", "relay.key", "tls.key", "tls.crt", "hub.json"]

    /// By name, as `HubFolder` reads them.
    package let files: [String: [UInt8]]

    /// Fresh ones.
    package init(making options: HubFolder.Options) throws(HubError) {
        try HubFolder.check(options)
        let authority = try Self.freshKey()
        let authorityKey = try HubFolder.key(authority, "authority.key").publicKey
        let tls = try TLSCertificate(mesh: options.mesh, host: options.address.host)
        let configuration = HubConfiguration(
            mesh: options.mesh, ranges: options.ranges, address: options.address, authorityKey: authorityKey,
            relays: options.relays, stun: options.stun, directory: options.directory)
        files = [
            "authority.key": authority, "relay.key": try Self.freshKey(), "tls.key": Array(tls.privateKey.utf8),
            "tls.crt": Array(tls.certificate.utf8), "hub.json": configuration.json.text + [0x0a],
        ]
    }

    /// Those that somebody has made.
    ///
    /// - Parameter place: names them in errors.
    package init(_ files: [String: [UInt8]], from place: String) throws(HubError) {
        for name in Self.names where files[name] == nil { throw .missingFile("\(place): \(name)") }
        self.files = files
    }

    package func reference() throws(HubError) -> HubReference {
        guard let json = files["hub.json"].flatMap({ JSONValue(parsing: $0) }),
            let configuration = HubConfiguration(json: json)
        else { throw .malformedFile("hub.json") }
        let pin = try HubFolder.pin(files["tls.crt"] ?? [], "tls.crt")
        let key = try HubFolder.key(files["authority.key"] ?? [], "authority.key")
        guard key.publicKey == configuration.authorityKey else { throw .malformedFile("authority.key") }
        do {
            return try HubReference(
                mesh: configuration.mesh, address: configuration.address, pin: pin,
                authorityKey: configuration.authorityKey)
        } catch { throw .malformedFile("hub.json") }
    }

    /// The content of a new key's file: 32 bytes in base64, and a line end.
    static func freshKey() throws(HubError) -> [UInt8] {
        let key: Ed25519.PrivateKey
        do { key = try Ed25519.PrivateKey() } catch { throw .tls("\(error)") }
        var seed = key.exportSeed()
        defer { unsafe seed.withUnsafeMutableBytes { unsafe wipe($0) } }
        return Array((Base64.encode(seed) + "\n").utf8)
    }
}
