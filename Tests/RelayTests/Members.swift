import Addressing
import STUN
import Sodium
import TestSupport
import Timing

@testable import Relay

/// A mesh of one authority: its credentials are an identity key (32), an expiry (8) and the authority's signature (64).
final class TestMesh: Sendable {
    let authority: Ed25519.PrivateKey

    init(using random: inout SeededRandom) throws {
        authority = try Ed25519.PrivateKey(seed: random.bytes(32))
    }

    func credential(for key: Ed25519.PublicKey, expiry: Int64) -> [UInt8] {
        let claims = key.bytes + (0..<8).map { UInt8(truncatingIfNeeded: expiry >> (56 - 8 * $0)) }
        return claims + authority.sign(claims)
    }

    var verifier: RelayServer.CredentialVerifier {
        let authority = authority.publicKey
        return { credential, now in
            guard credential.count == 104, let key = Ed25519.PublicKey(credential[..<32]),
                Ed25519.verify(Array(credential[40...]), of: Array(credential[..<40]), by: authority)
            else { return nil }
            let expiry = WallTime(seconds: credential[32..<40].reduce(0) { $0 << 8 | Int64($1) })
            return now < expiry ? VerifiedCredential(identityKey: key, expiry: expiry) : nil
        }
    }
}

/// An agent with its identity key.
final class Member: Sendable {
    let key: Ed25519.PrivateKey
    let id: AgentID

    init(using random: inout SeededRandom) throws {
        key = try Ed25519.PrivateKey(seed: random.bytes(32))
        id = AgentID(identityKey: key.publicKey)
    }

    var identity: RelayClient.Identity {
        RelayClient.Identity(key: key.publicKey) { [self] in key.sign($0) }
    }
}

/// A relay with a mesh, a clock that the test moves, and the seed that all of it comes from.
final class Bench {
    static let relayID = AgentID(high: 7, low: 7)
    static let relayEndpoint = Endpoint(.v4(IPv4Address(198, 51, 100, 1)), port: 3478)

    var random: SeededRandom
    let mesh: TestMesh
    var server: RelayServer
    var now = MonotonicTime.zero + .seconds(1000)
    var wallSeconds: Int64 { 1_700_000_000 + Int64(now.nanoseconds / 1_000_000_000) }
    var wall: WallTime { WallTime(seconds: wallSeconds) }

    init(seed: UInt64, _ configuration: RelayServer.Configuration = .init()) throws {
        random = SeededRandom(seed: seed)
        mesh = try TestMesh(using: &random)
        server = try RelayServer(
            relay: Self.relayID, configuration, now: now, using: &random, verifyCredential: mesh.verifier)
    }

    func member() throws -> Member { try Member(using: &random) }

    func endpoint(_ host: UInt8, _ port: UInt16 = 40000) -> Endpoint {
        Endpoint(.v4(IPv4Address(203, 0, 113, host)), port: port)
    }

    func credential(of member: Member, life: Int64 = 3600) -> [UInt8] {
        mesh.credential(for: member.key.publicKey, expiry: wallSeconds + life)
    }

    /// Gives the relay a datagram; `datagram` is what it made of it in place.
    func receive(_ datagram: inout [UInt8], from link: RelayLink) -> RelayServer.Action {
        unsafe datagram.withUnsafeMutableBytes { unsafe server.receive($0, from: link, now: now, wall: wall) }
    }

    func receive(_ datagram: inout [UInt8], from source: Endpoint) -> RelayServer.Action {
        receive(&datagram, from: RelayLink(source))
    }

    func receive(_ datagram: [UInt8], from link: RelayLink) -> RelayServer.Action {
        var copy = datagram
        return receive(&copy, from: link)
    }

    func receive(_ datagram: [UInt8], from source: Endpoint) -> RelayServer.Action {
        receive(datagram, from: RelayLink(source))
    }

    /// Stream `number`, from a host of the same number.
    func stream(_ number: UInt8) -> RelayLink { RelayLink(stream: UInt64(number), from: endpoint(number, 50000)) }

    func challenge(_ agent: AgentID, at source: Endpoint, nonce: UInt64 = 1) throws -> Challenge {
        try challenge(agent, on: RelayLink(source), nonce: nonce)
    }

    func challenge(_ agent: AgentID, on link: RelayLink, nonce: UInt64 = 1) throws -> Challenge {
        guard case .reply(let reply) = receive(Hello(agent: agent, nonce: nonce).bytes, from: link) else {
            throw Unexpected.noReply
        }
        return try unsafe Challenge(reply.span.bytes)
    }

    /// A proof as an honest member makes it, for tests to bend.
    func proof(_ member: Member, _ challenge: Challenge, relay: AgentID = Bench.relayID, life: Int64 = 3600) -> Proof {
        let message = Proof.signedBytes(relay: relay, cookie: challenge.cookie, observed: challenge.observed)
        return Proof(
            agent: member.id, nonce: challenge.nonce, cookie: challenge.cookie, identityKey: member.key.publicKey,
            signature: member.key.sign(message), credential: credential(of: member, life: life))
    }

    /// Registers `member` at `source`; returns the epoch.
    @discardableResult
    func register(_ member: Member, at source: Endpoint, life: Int64 = 3600) throws -> UInt8 {
        try register(member, on: RelayLink(source), life: life)
    }

    @discardableResult
    func register(_ member: Member, on link: RelayLink, life: Int64 = 3600) throws -> UInt8 {
        let proof = proof(member, try challenge(member.id, on: link), life: life)
        guard case .reply(let reply) = receive(proof.bytes, from: link), reply[0] == FrameType.accepted.rawValue
        else { throw Unexpected.noReply }
        return try unsafe Accepted(reply.span.bytes).epoch
    }

    func data(to agent: AgentID, epoch: UInt8, _ payload: [UInt8]) -> [UInt8] {
        let header = FrameHeader(.data, epoch: epoch, agent: agent).bytes
        return header.indices.map { header[$0] } + payload
    }

    func errorCode(_ action: RelayServer.Action) -> RelayErrorCode? {
        guard case .reply(let reply) = action, reply[0] == FrameType.error.rawValue else { return nil }
        return try? unsafe RelayErrorFrame(reply.span.bytes).code
    }

    enum Unexpected: Error { case noReply }
}
