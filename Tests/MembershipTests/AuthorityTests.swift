import Addressing
import Sodium
import Testing
import Timing

@testable import Membership

@Suite struct AuthorityTests {
    private let authority: Authority
    private let identity: Identity
    private let grant: TokenGrant

    init() throws {
        authority = try Fixture.authority()
        identity = try Fixture.identity()
        grant = TokenGrant(
            hash: JoinToken.hash(ofSecret: [UInt8](repeating: 5, count: 32)), pattern: NamePattern("agent-*")!,
            ranges: [IPPrefix("fd12:3456:789a:1::/64")!], usesLeft: 1, expires: Fixture.later(100))
    }

    private func admit(
        name: String = "agent-1", addresses: [IPAddress] = [Fixture.address], secret: UInt8 = 5,
        token: TokenGrant?? = nil, current: Lease? = nil, nonce: Bytes32 = Fixture.nonce, pin: Bytes32 = Fixture.pin,
        signer: Identity? = nil, now: WallTime = Fixture.now
    ) throws(Refusal) -> Authority.Admission {
        let request = JoinRequest(
            identityKey: identity.publicKey, name: name, addresses: addresses,
            tokenHash: JoinToken.hash(ofSecret: [UInt8](repeating: secret, count: 32)))
        let signature = (signer ?? identity).sign(request.proof(nonce: Fixture.nonce, pin: Fixture.pin))
        return try authority.admit(
            request, signature: signature, nonce: nonce, pin: pin, token: token ?? grant, current: current, now: now)
    }

    private func lease(_ identity: Identity, expires: WallTime = Fixture.later(1000)) -> Lease {
        Lease(
            identityKey: identity.publicKey, name: "agent-1", addresses: [Fixture.address], expires: expires,
            tokenHash: grant.hash)
    }

    @Test func `a join within the token's bounds is admitted`() throws {
        let admission = try admit()
        #expect(admission == .init(name: "agent-1", addresses: [Fixture.address], usesToken: true))
        #expect(try admit(name: "").name == "agent-" + identity.id.description.prefix(8))
    }

    @Test func `a wrong, unknown, expired or used-up token is refused`() {
        #expect(throws: Refusal.wrongToken) { try admit(secret: 6) }
        #expect(throws: Refusal.wrongToken) { try admit(token: .some(nil)) }
        #expect(throws: Refusal.expiredToken) { try admit(now: Fixture.later(100)) }
        var spent = grant
        spent.usesLeft = 0
        #expect(throws: Refusal.usedUpToken) { try admit(token: spent) }
        #expect(throws: Refusal.usedUpToken) {
            try admit(token: spent, current: lease(identity, expires: Fixture.later(-61)))
        }
    }

    @Test func `an agent that comes again uses no second use`() throws {
        var spent = grant
        spent.usesLeft = 0
        #expect(try admit(token: spent, current: lease(identity)).usesToken == false)
        #expect(throws: Refusal.usedUpToken) { try admit(name: "agent-2", token: spent, current: lease(identity)) }
    }

    @Test func `a name outside the pattern or no name at all is refused`() {
        #expect(throws: Refusal.nameNotAllowed("db-1")) { try admit(name: "db-1") }
        #expect(throws: Refusal.invalidName("agent-A")) { try admit(name: "agent-A") }
        #expect(throws: Refusal.invalidName("agent-")) { try admit(name: "agent-") }
    }

    @Test func `an address outside token or mesh is refused`() throws {
        let outsideToken = IPAddress("fd12:3456:789a:2::7")!
        #expect(throws: Refusal.addressNotAllowed(outsideToken)) { try admit(addresses: [outsideToken]) }
        let outsideMesh = IPAddress("fd99::1")!
        let wide = TokenGrant(
            hash: grant.hash, pattern: .any, ranges: [IPPrefix("::/0")!], usesLeft: 1, expires: Fixture.later(10))
        #expect(throws: Refusal.addressNotAllowed(outsideMesh)) { try admit(addresses: [outsideMesh], token: wide) }
        #expect(throws: Refusal.noAddress) { try admit(addresses: []) }
        let many = (0..<5).map { IPAddress.v6(IPv6Address(high: 0xfd12_3456_789a_0001, low: $0)) }
        #expect(throws: Refusal.tooManyAddresses) { try admit(addresses: many) }
    }

    @Test func `a proof by another key, for another nonce or another server is refused`() throws {
        let other = try Fixture.identity(2)
        #expect(throws: Refusal.invalidProof) { try admit(signer: other) }
        #expect(throws: Refusal.invalidProof) { try admit(nonce: Fixture.pin) }
        #expect(throws: Refusal.invalidProof) { try admit(pin: Fixture.nonce) }
    }

    @Test func `what another key holds is taken until its credential has expired`() throws {
        let other = try Fixture.identity(2)
        func check(_ holder: Lease, _ now: WallTime) throws {
            try Authority.checkFree(
                name: "agent-1", nameHolder: holder, addressHolders: [], for: identity.publicKey, now: now)
        }
        #expect(throws: Refusal.nameTaken("agent-1")) { try check(lease(other), Fixture.now) }
        #expect(throws: Refusal.addressTaken(Fixture.address)) {
            try Authority.checkFree(
                name: "agent-1", nameHolder: nil, addressHolders: [(Fixture.address, lease(other))],
                for: identity.publicKey, now: Fixture.now)
        }
        try check(lease(identity), Fixture.now)
        #expect(throws: Refusal.nameTaken("agent-1")) { try check(lease(other), Fixture.later(1059)) }
        try check(lease(other), Fixture.later(1060))
    }

    @Test func `a member proves itself for one purpose`() throws {
        let renew = identity.sign(
            Proof.message(.renew, nonce: Fixture.nonce, pin: Fixture.pin, request: identity.publicKey.bytes))
        func check(_ purpose: Proof.Purpose, _ current: Lease?, now: WallTime = Fixture.now) throws {
            _ = try authority.checkMember(
                purpose, identityKey: identity.publicKey, signature: renew, nonce: Fixture.nonce, pin: Fixture.pin,
                current: current, now: now)
        }
        try check(.renew, lease(identity))
        #expect(throws: Refusal.invalidProof) { try check(.leave, lease(identity)) }
        #expect(throws: Refusal.notMember) { try check(.renew, nil) }
        #expect(throws: Refusal.notMember) { try check(.renew, lease(identity), now: Fixture.later(2000)) }
    }

    @Test func `a credential lives a day and is due at half of it`() throws {
        let credential = try Fixture.credential(identity, by: authority)
        #expect(credential.expires == Fixture.later(86400))
        #expect(credential.renewal == Fixture.later(43200))
    }

    @Test func `grants and leases survive the store`() throws {
        #expect(TokenGrant(hash: grant.hash, json: grant.json) == grant)
        #expect(Lease(json: lease(identity).json) == lease(identity))
    }
}
