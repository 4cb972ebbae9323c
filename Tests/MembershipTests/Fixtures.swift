import Addressing
import Sodium
import TestSupport
import Timing

@testable import Membership

/// Keys and values that the suites share; every key is from a fixed seed.
enum Fixture {
    static let mesh = "demo"
    static let now = WallTime(seconds: 1_800_000_000)
    static let address = IPAddress("fd12:3456:789a:1::7")!
    static let other = IPAddress("fd12:3456:789a:1::8")!
    static let range = IPPrefix("fd12:3456:789a::/48")!
    static let nonce = Bytes32([UInt8](repeating: 7, count: 32))!
    static let pin = Bytes32([UInt8](repeating: 9, count: 32))!

    static func key(_ seed: UInt8) throws -> Ed25519.PrivateKey {
        try Libsodium.initialize()
        return try Ed25519.PrivateKey(seed: [UInt8](repeating: seed, count: 32))
    }

    static func identity(_ seed: UInt8 = 1) throws -> Identity { Identity(try key(seed)) }

    static func authority(_ seed: UInt8 = 100, mesh: String = mesh) throws -> Authority {
        Authority(mesh: mesh, ranges: [range], key: try key(seed))
    }

    static func credential(
        _ identity: Identity, by authority: Authority, name: String = "agent-1", now: WallTime = now
    ) throws -> Credential {
        var random = SeededRandom(seed: 1)
        return try authority.issue(
            name: name, addresses: [address], identityKey: identity.publicKey, now: now, using: &random)
    }

    static func announcement(
        _ identity: Identity, sequence: UInt64 = 1, expires: WallTime = later(3600), keyExpires: WallTime = later(3600)
    ) throws -> Announcement {
        try Announcement(
            identity: identity, sequence: sequence, expires: expires,
            keys: [.init(key: Bytes32([UInt8](repeating: 3, count: 32))!, notBefore: now, expires: keyExpires)],
            relays: [.init(id: identity.id, endpoint: Endpoint("192.0.2.1:3478")!)])
    }

    static func later(_ seconds: Int64) -> WallTime { WallTime(seconds: now.seconds + seconds) }

    /// `text` with the part at `index` of a JWS replaced.
    static func replacing(_ index: Int, of text: String, with part: String) -> String {
        var parts = text.split(separator: ".").map(String.init)
        parts[index] = part
        return parts.joined(separator: ".")
    }

    /// A JWS over any header and payload, as an attacker with a key could make it.
    static func jws(header: String, payload: String, signedBy identity: Identity) -> String {
        let signed = Base64.encodeURL(Array(header.utf8)) + "." + Base64.encodeURL(Array(payload.utf8))
        return signed + "." + Base64.encodeURL(identity.sign(Array(signed.utf8)))
    }
}
