import Addressing
import Testing
import Timing

@testable import Membership

@Suite struct GroupNameTests {
    @Test func `a group is two labels`() {
        for text in ["web.shop", "a.b", "web-1.shop-2"] { #expect(GroupName(text)?.description == text) }
        for text in [
            "", "web", "web.shop.x", "Web.shop", ".shop", "web.", "web..shop", "-web.shop", "web-.shop", "web.-shop",
            "w_b.shop", "web.shop ", String(repeating: "a", count: 32) + "." + String(repeating: "b", count: 32),
        ] { #expect(GroupName(text) == nil, "\(text)") }
    }

    @Test func `a credential says its groups, under the authority's signature`() throws {
        let identity = try Fixture.identity()
        let authority = try Fixture.authority()
        var random = SystemRandomNumberGenerator()
        let groups = [GroupName("web.shop")!, GroupName("api.shop")!]
        let credential = try authority.issue(
            name: "web-0.shop", addresses: [Fixture.address], groups: groups, identityKey: identity.publicKey,
            now: Fixture.now, using: &random)
        let read = try Credential(
            verifying: credential.text, mesh: Fixture.mesh, authorityKey: authority.publicKey, now: Fixture.now)
        #expect(read == credential)
        #expect(read.groups == groups)
        // One without groups reads as before there were any.
        let plain = try Fixture.credential(identity, by: authority)
        #expect(plain.groups.isEmpty)
        #expect(
            !String(decoding: Base64.decodeURL(String(plain.text.split(separator: ".")[1]))!, as: UTF8.self)
                .contains("groups"))
    }

    @Test(arguments: [#"["web"]"#, #"["a.b","a.b"]"#, #"["a.b","b.b","c.b","d.b","e.b"]"#, #""a.b""#, "[1]"])
    func `a credential with malformed groups is none, whoever signed it`(groups: String) throws {
        let identity = try Fixture.identity()
        let authority = Identity(try Fixture.key(100))
        let credential = try Fixture.credential(identity, by: try Fixture.authority())
        let parts = credential.text.split(separator: ".").map { Base64.decodeURL(String($0))! }
        let payload = String(String(decoding: parts[1], as: UTF8.self).dropLast()) + #","groups":\#(groups)}"#
        let forged = Fixture.jws(
            header: String(decoding: parts[0], as: UTF8.self), payload: payload, signedBy: authority)
        #expect(throws: MembershipError.malformed("credential")) {
            try Credential(
                verifying: forged, mesh: Fixture.mesh, authorityKey: authority.publicKey, now: Fixture.now)
        }
    }

    @Test func `tokens and leases keep them, and those from before have none`() throws {
        let groups = [GroupName("web.shop")!]
        let grant = TokenGrant(
            hash: Fixture.nonce, pattern: .any, ranges: [], groups: groups, usesLeft: 1, expires: Fixture.now)
        #expect(TokenGrant(hash: Fixture.nonce, json: JSONValue(parsing: grant.json.text)!) == grant)
        let lease = Lease(
            identityKey: try Fixture.identity().publicKey, name: "a", addresses: [Fixture.address], groups: groups,
            expires: Fixture.now, tokenHash: Fixture.pin)
        #expect(Lease(json: JSONValue(parsing: lease.json.text)!) == lease)
        let old = #"{"name":"*","ranges":[],"uses":1,"exp":9}"#
        #expect(TokenGrant(hash: Fixture.nonce, json: JSONValue(parsing: Array(old.utf8))!)?.groups == [])
    }

    @Test func `nobody gets the address of pods' resolvers`() throws {
        let authority = try Fixture.authority()
        let identity = try Fixture.identity()
        let address = IPAddress("fd12:3456:789a::53")!
        let token = TokenGrant(
            hash: Fixture.nonce, pattern: .any, ranges: [], usesLeft: 1, expires: Fixture.later(60))
        let request = JoinRequest(
            identityKey: identity.publicKey, name: "a", addresses: [address], tokenHash: Fixture.nonce)
        let signature = identity.sign(request.proof(nonce: Fixture.nonce, pin: Fixture.pin))
        #expect(throws: Refusal.addressNotAllowed(address)) {
            try authority.admit(
                request, signature: signature, nonce: Fixture.nonce, pin: Fixture.pin, token: token, current: nil,
                now: Fixture.now)
        }
    }
}
