import Addressing
import Sodium
import TestSupport
import Testing

@testable import Membership

@Suite struct JoinTokenTests {
    private func token() throws -> JoinToken {
        try Libsodium.initialize()
        return try JoinToken(
            mesh: "demo", address: HubAddress("hub.example:7443")!, pin: Fixture.pin, authorityKey: Fixture.nonce,
            secret: SecretKey(copying: Array(0..<32)))
    }

    @Test func `text and back is the same token`() throws {
        let text = try token().exportText()
        let parsed = try JoinToken(" \(text)\n")
        #expect(parsed.mesh == "demo")
        #expect(parsed.address.description == "hub.example:7443")
        #expect(parsed.pin == Fixture.pin)
        #expect(parsed.authorityKey == Fixture.nonce)
        let secret = parsed.secret.exportBytes()
        #expect(secret == Array(0..<32))
        let again = parsed.exportText()
        #expect(again == text)
    }

    @Test func `every truncation and extension is refused`() throws {
        let text = try token().exportText()
        for length in 0..<text.utf8.count {
            #expect(throws: MembershipError.self) { _ = try JoinToken(String(text.prefix(length))) }
        }
        #expect(throws: MembershipError.self) { _ = try JoinToken(text + "AAAA") }
        #expect(throws: MembershipError.self) { _ = try JoinToken(text + "=") }
        #expect(throws: MembershipError.self) { _ = try JoinToken(String(repeating: "A", count: 100_000)) }
    }

    @Test func `another version or prefix is refused`() throws {
        let text = try token().exportText()
        var bytes = Base64.decodeURL(text.dropFirst(JoinToken.prefix.count))!
        bytes[0] = 2
        #expect(throws: MembershipError.self) { _ = try JoinToken(JoinToken.prefix + Base64.encodeURL(bytes)) }
        #expect(throws: MembershipError.self) { _ = try JoinToken("warren2." + text.dropFirst(8)) }
    }

    @Test func `no bytes crash the parser`() throws {
        try Libsodium.initialize()
        var random = SeededRandom(seed: 7)
        for _ in 0..<5000 {
            let bytes =
                [1]
                + (0..<Int.random(in: 0..<140, using: &random)).map { _ in UInt8.random(in: 0...40, using: &random) }
            _ = try? JoinToken(JoinToken.prefix + Base64.encodeURL(bytes))
        }
    }

    @Test(arguments: ["hub:1", "192.0.2.1:7443", "[2001:db8::1]:7443", "a-b.c:65535"])
    func `hub addresses are what they say`(text: String) { #expect(HubAddress(text)?.description == text) }

    @Test(arguments: [
        "hub", "hub:", "hub:0", "hub:65536", "hub:-1", "2001:db8::1:7443", "[hub]:1", "a b:1", ":1", "-a:1",
    ])
    func `other hub addresses are refused`(text: String) { #expect(HubAddress(text) == nil) }
}
