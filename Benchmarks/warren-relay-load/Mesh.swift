import Addressing
import ArgumentParser
import Hub
import Membership
import Relay
import Sodium
import Timing

/// The hub's folder, for its authority's key: every member here is one that it has signed.
struct MeshOptions: ParsableArguments {
    @Option(help: "The folder of the hub whose authority signs the members.")
    var dir: String

    func mesh() throws -> LoadMesh { try LoadMesh(HubFolder(opening: dir)) }
}

struct LoadMesh: Sendable {
    let authority: Authority
    let folder: HubFolder

    init(_ folder: HubFolder) throws {
        try Libsodium.initialize()
        self.folder = folder
        let configuration = folder.configuration
        authority = Authority(
            mesh: configuration.mesh, ranges: configuration.ranges, key: try folder.loadAuthorityKey())
    }

    /// A member, and its credential.
    func member(_ number: Int) throws -> (identity: RelayClient.Identity, credential: [UInt8]) {
        let identity = Identity(try Ed25519.PrivateKey())
        var random = SystemRandomNumberGenerator()
        guard let range = folder.configuration.ranges.first, case .v6(let base) = range.address else {
            throw ValidationError("the hub has no IPv6 range")
        }
        let address = IPAddress.v6(IPv6Address(high: base.high | 1, low: UInt64(number + 1)))
        let credential = try authority.issue(
            name: "load-\(number)", addresses: [address], identityKey: identity.publicKey, now: .now(), using: &random)
        return (.init(key: identity.publicKey) { identity.sign($0) }, Array(credential.text.utf8))
    }
}

/// A relay on the command line: `ID@UDP-ENDPOINT@TLS-ADDRESS@PIN`, as the relay's hub prints them.
struct RelayArgument: ExpressibleByArgument, Sendable {
    let id: AgentID
    let udp: Endpoint
    let tls: HubAddress
    let pin: Bytes32

    init?(argument: String) {
        let parts = argument.split(separator: "@").map(String.init)
        guard parts.count == 4, let id = AgentID(parts[0]), let udp = Endpoint(parts[1]),
            let tls = HubAddress(parts[2]), let pin = Base64.decode(parts[3]).flatMap({ Bytes32($0) })
        else { return nil }
        self.id = id
        self.udp = udp
        self.tls = tls
        self.pin = pin
    }
}
