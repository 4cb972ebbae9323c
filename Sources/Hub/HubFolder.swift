package import Addressing
import Directory
import Glibc
import Linux
package import Membership
import NIOSSL
package import Sodium

/// A hub's folder, mode 0700: `hub.json`, `hub.sqlite`, `tls.crt`, and one 0600 file for each key (`authority.key`,
/// `relay.key`: 32 bytes in base64; `tls.key`: PEM). No role reads another's key.
///
/// All but the database may be elsewhere, mounted from a Secret: then nothing is written there.
package struct HubFolder: Sendable {
    package let path: String
    private let keys: String
    private let source: KeyFile.Source
    package private(set) var configuration: HubConfiguration
    /// BLAKE2b-256 of the SubjectPublicKeyInfo in `tls.crt`.
    package let pin: Bytes32

    /// What `init` asks for.
    package struct Options: Sendable {
        package var mesh: String
        package var ranges: [IPPrefix]
        package var address: HubAddress
        package var relays: [HubConfiguration.AdvertisedRelay]
        package var stun: [Endpoint] = []
        package var directory: HubConfiguration.RemoteDirectory?
        /// Another hub's authority: this folder then gets no authority key.
        package var foreignAuthority: Ed25519.PublicKey?

        package init(
            mesh: String, ranges: [IPPrefix], address: HubAddress, relays: [HubConfiguration.AdvertisedRelay]
        ) {
            self.mesh = mesh
            self.ranges = ranges
            self.address = address
            self.relays = relays
        }
    }

    /// Opens a folder that `create` made.
    ///
    /// - Parameter keys: a mounted Secret with all but the database, as `HubKeys` makes it.
    package init(opening path: String, keys mounted: String? = nil) throws(HubError) {
        let keys = mounted ?? path
        let source = mounted == nil ? KeyFile.Source.own : .mounted
        guard KeyFile.exists("\(keys)/hub.json") else { throw .notAHub(keys) }
        guard let json = JSONValue(parsing: try KeyFile.read("\(keys)/hub.json", from: source)),
            let configuration = HubConfiguration(json: json)
        else { throw .malformedFile("\(keys)/hub.json") }
        pin = try Self.pin(try KeyFile.read("\(keys)/tls.crt", from: source), "\(keys)/tls.crt")
        self.path = path
        self.keys = keys
        self.source = source
        self.configuration = configuration
    }

    /// The pin of the first certificate in `pem`.
    static func pin(_ pem: [UInt8], _ name: String) throws(HubError) -> Bytes32 {
        do {
            guard let first = try NIOSSLCertificate.fromPEMBytes(pem).first else { throw HubError.malformedFile(name) }
            return try HubLink.pin(of: first)
        } catch let error as HubError { throw error } catch { throw .malformedFile(name) }
    }

    /// What agents are given to find this hub; no secret.
    package func reference() throws(HubError) -> HubReference {
        do {
            return try HubReference(
                mesh: configuration.mesh, address: configuration.address, pin: pin,
                authorityKey: configuration.authorityKey)
        } catch { throw .malformedFile("\(keys)/hub.json") }
    }

    /// The same hub, which tells agents something else while this process runs; nil leaves a part as it is.
    package func telling(
        relays: [HubConfiguration.AdvertisedRelay]?, stun: [Endpoint]?, directory: HubConfiguration.RemoteDirectory?
    ) -> HubFolder {
        var changed = self
        if let relays { changed.configuration.relays = relays }
        if let stun { changed.configuration.stun = stun }
        if let directory { changed.configuration.directory = directory }
        return changed
    }

    /// Makes a hub's folder with fresh keys. `hub.json` comes last: a run that was cut short is finished by the next.
    ///
    /// - Returns: the folder, and whether it is new; an existing hub is left as it is.
    package static func create(_ path: String, _ options: Options) throws(HubError) -> (HubFolder, isNew: Bool) {
        if KeyFile.exists("\(path)/hub.json") { return (try HubFolder(opening: path), false) }
        try check(options)
        if unsafe mkdir(path, 0o700) != 0 {
            let errno = Errno.current
            guard errno == .exists else { throw HubError(SystemError("mkdir \(path)", errno)) }
            guard unsafe chmod(path, 0o700) == 0 else { throw HubError(SystemError("chmod \(path)", .current)) }
        }
        let authorityKey: Ed25519.PublicKey
        if let foreign = options.foreignAuthority {
            authorityKey = foreign
        } else {
            authorityKey = try makeKey("\(path)/authority.key")
        }
        _ = try makeKey("\(path)/relay.key")
        if !KeyFile.exists("\(path)/tls.key") || !KeyFile.exists("\(path)/tls.crt") {
            _ = unsafe unlink("\(path)/tls.key")
            _ = unsafe unlink("\(path)/tls.crt")
            let tls = try TLSCertificate(mesh: options.mesh, host: options.address.host)
            try KeyFile.create("\(path)/tls.key", Array(tls.privateKey.utf8))
            try KeyFile.create("\(path)/tls.crt", Array(tls.certificate.utf8))
        }
        let configuration = HubConfiguration(
            mesh: options.mesh, ranges: options.ranges, address: options.address, authorityKey: authorityKey,
            relays: options.relays, stun: options.stun, directory: options.directory)
        try KeyFile.create("\(path)/hub.json", configuration.json.text + [0x0a])
        return (try HubFolder(opening: path), true)
    }

    /// Changes what agents are told when they join; nil leaves a part as it is. A hub that serves tells it from its next
    /// start. This is also how roles that run apart learn of each other: the others' keys need the authority's first.
    package func advertise(
        relays: [HubConfiguration.AdvertisedRelay]?, stun: [Endpoint]?, directory: HubConfiguration.RemoteDirectory?
    ) throws(HubError) -> HubFolder {
        let changed = telling(relays: relays, stun: stun, directory: directory).configuration
        if changed == configuration { return self }
        guard source == .own else {
            throw .option("\(keys) is mounted and can't be changed: tell `warren-hub serve` the same options")
        }
        try KeyFile.replace("\(path)/hub.json", changed.json.text + [0x0a])
        return try HubFolder(opening: path)
    }

    /// Opens the store; the file is 0600 as everything here.
    package func openStore() throws(HubError) -> SQLiteStore {
        let database = "\(path)/hub.sqlite"
        try KeyFile.create(database, [])
        do { return try SQLiteStore(path: database) } catch { throw .store(error) }
    }

    /// The authority's signing key; only the authority's role asks for it.
    package func loadAuthorityKey() throws(HubError) -> Ed25519.PrivateKey {
        let key = try Self.readKey("\(keys)/authority.key", source)
        guard key.publicKey == configuration.authorityKey else { throw .malformedFile("\(keys)/authority.key") }
        return key
    }

    /// The relay's key, whose id agents know the relay by.
    package func loadRelayKey() throws(HubError) -> Ed25519.PrivateKey { try Self.readKey("\(keys)/relay.key", source) }

    /// The relay's id; nil when there is no relay key here.
    package func relayID() throws(HubError) -> AgentID { AgentID(identityKey: try loadRelayKey().publicKey) }

    func loadTLS() throws(HubError) -> (certificate: [UInt8], key: [UInt8]) {
        (try KeyFile.read("\(keys)/tls.crt", from: source), try KeyFile.read("\(keys)/tls.key", from: source))
    }

    private static func makeKey(_ path: String) throws(HubError) -> Ed25519.PublicKey {
        if !KeyFile.exists(path) {
            var text = try HubKeys.freshKey()
            defer { unsafe text.withUnsafeMutableBytes { unsafe wipe($0) } }
            try KeyFile.create(path, text)
        }
        return try readKey(path).publicKey
    }

    private static func readKey(
        _ path: String, _ source: KeyFile.Source = .own
    ) throws(HubError) -> Ed25519.PrivateKey {
        var text = try KeyFile.read(path, from: source, limit: 4096)
        defer { unsafe text.withUnsafeMutableBytes { unsafe wipe($0) } }
        return try key(text, path)
    }

    /// A key file's content.
    static func key(_ text: [UInt8], _ path: String) throws(HubError) -> Ed25519.PrivateKey {
        guard let line = String(validating: text, as: UTF8.self), var seed = Base64.decode(line.filter { $0 != "\n" })
        else { throw .malformedFile(path) }
        defer { unsafe seed.withUnsafeMutableBytes { unsafe wipe($0) } }
        do { return try Ed25519.PrivateKey(seed: seed) } catch { throw .malformedFile(path) }
    }

    static func check(_ options: Options) throws(HubError) {
        guard AgentName.isValidMesh(options.mesh) else {
            throw .option("--mesh \(options.mesh): \(MembershipError.invalidName(options.mesh))")
        }
        guard options.ranges.allSatisfy({ $0.masked == $0 }) else {
            throw .option("--prefix and --ipv4-range: host bits must be zero")
        }
    }
}
