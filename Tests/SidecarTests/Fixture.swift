import Addressing
import Membership
import Sodium
import Timing

/// A mesh with an authority, and agents with records that verify.
enum Fixture {
    static let mesh = "demo"
    static let now = WallTime(seconds: 1_800_000_000)
    static let range = IPPrefix("fd12:3456:789a::/48")!

    static func address(_ number: Int) -> IPAddress { IPAddress("fd12:3456:789a:1::\(number)")! }

    static func identity(_ seed: UInt8) throws -> Identity {
        try Libsodium.initialize()
        return Identity(try Ed25519.PrivateKey(seed: [UInt8](repeating: seed, count: 32)))
    }

    static func authority() throws -> Authority {
        try Libsodium.initialize()
        return Authority(
            mesh: mesh, ranges: [range], key: try Ed25519.PrivateKey(seed: [UInt8](repeating: 200, count: 32)))
    }

    static func record(
        _ seed: UInt8, address number: Int? = nil, sequence: UInt64 = 1, key: UInt8? = nil, issued: WallTime = now,
        keyExpires: Int64 = 86400, relays: [Announcement.HomeRelay] = []
    ) throws -> VerifiedRecord {
        let (identity, authority) = (try identity(seed), try authority())
        var random = SystemRandomNumberGenerator()
        let credential = try authority.issue(
            name: "agent-\(seed)", addresses: [address(number ?? Int(seed))], identityKey: identity.publicKey,
            now: issued, using: &random)
        let key = Bytes32([UInt8](repeating: key ?? seed, count: 32))!
        let announcement = try Announcement(
            identity: identity, sequence: sequence, expires: WallTime(seconds: issued.seconds + 86400),
            keys: [.init(key: key, notBefore: issued, expires: WallTime(seconds: issued.seconds + keyExpires))],
            relays: relays)
        return try RecordVerifier(mesh: mesh, authorityKey: authority.publicKey).verify(
            Record(credential: credential.text, announcement: announcement.text), now: issued)
    }

    static func later(_ seconds: Int64) -> WallTime { WallTime(seconds: now.seconds + seconds) }
}
