import Addressing
import Sodium
import TestSupport
import Testing
import Timing

@testable import Membership

@Suite struct RecordVerifierTests {
    private let identity: Identity
    private let authority: Authority
    private let verifier: RecordVerifier
    private let credential: Credential
    private let announcement: Announcement

    init() throws {
        identity = try Fixture.identity()
        authority = try Fixture.authority()
        verifier = RecordVerifier(mesh: Fixture.mesh, authorityKey: authority.publicKey)
        credential = try Fixture.credential(identity, by: authority)
        announcement = try Fixture.announcement(identity, sequence: 5)
    }

    private func verify(
        _ credential: String? = nil, _ announcement: String? = nil, now: WallTime = Fixture.now, known: UInt64? = nil
    ) throws(MembershipError) -> VerifiedRecord {
        let record = Record(
            credential: credential ?? self.credential.text, announcement: announcement ?? self.announcement.text)
        return try verifier.verify(record, now: now, known: known)
    }

    @Test func `a whole chain is accepted with all it says`() throws {
        let record = try verify()
        #expect(record.credential == credential)
        #expect(record.announcement == announcement)
        #expect(record.id == identity.id)
        #expect(record.credential.subject == "spiffe://demo/agent/agent-1")
        #expect(record.credential.addresses == [Fixture.address])
        #expect(record.keys == announcement.keys.map(\.key))
    }

    @Test func `a credential by another authority is refused, with the right kid too`() throws {
        let forged = try Fixture.credential(identity, by: try Fixture.authority(101))
        #expect(throws: MembershipError.unknownAuthorityKey) { try verify(forged.text) }
        let header = Fixture.replacing(0, of: forged.text, with: String(credential.text.split(separator: ".")[0]))
        #expect(throws: MembershipError.invalidSignature("credential")) { try verify(header) }
    }

    @Test func `a credential whose claims were changed is refused`() throws {
        let other = try Fixture.credential(identity, by: authority, name: "agent-2")
        let payload = String(other.text.split(separator: ".")[1])
        #expect(throws: MembershipError.invalidSignature("credential")) {
            try verify(Fixture.replacing(1, of: credential.text, with: payload))
        }
    }

    @Test func `every flipped bit is refused`() throws {
        for text in [credential.text, announcement.text] {
            var bytes = Array(text.utf8)
            for index in stride(from: 0, to: bytes.count, by: 3) {
                bytes[index] ^= 1
                let changed = String(decoding: bytes, as: UTF8.self)
                bytes[index] ^= 1
                let isCredential = text == credential.text
                #expect(throws: MembershipError.self) {
                    try verify(isCredential ? changed : nil, isCredential ? nil : changed)
                }
            }
        }
    }

    @Test func `a credential of another mesh is refused`() throws {
        let foreign = Authority(mesh: "other", ranges: [Fixture.range], key: try Fixture.key(100))
        let text = try Fixture.credential(identity, by: foreign).text
        #expect(throws: MembershipError.foreignMesh("other")) { try verify(text) }
    }

    @Test func `an announcement by another identity key is refused`() throws {
        let foreign = try Fixture.announcement(try Fixture.identity(2), sequence: 9)
        #expect(throws: MembershipError.invalidSignature("announcement")) { try verify(nil, foreign.text) }
    }

    @Test func `an announcement that names another agent is refused`() throws {
        let payload = announcement.text.split(separator: ".")[1]
        let text = String(decoding: Base64.decodeURL(payload)!, as: UTF8.self)
        let other = try Fixture.identity(2).id.description
        let forged = Fixture.jws(
            header: #"{"alg":"EdDSA","typ":"announcement"}"#,
            payload: text.split(separator: identity.id.description, omittingEmptySubsequences: false).joined(
                separator: other),
            signedBy: identity)
        #expect(throws: MembershipError.foreignAnnouncement) { try verify(nil, forged) }
    }

    @Test func `a credential can't stand in for an announcement`() {
        #expect(throws: MembershipError.self) { try verify(nil, credential.text) }
        #expect(throws: MembershipError.self) { try verify(announcement.text, nil) }
    }

    @Test func `times are kept, with a minute for clocks that differ`() throws {
        _ = try verify(now: Fixture.later(-59))
        #expect(throws: MembershipError.notYetValid("credential")) { try verify(now: Fixture.later(-61)) }
        _ = try verify(now: Fixture.later(3659))
        #expect(throws: MembershipError.expired("announcement")) { try verify(now: Fixture.later(3661)) }
        #expect(throws: MembershipError.expired("credential")) { try verify(now: Fixture.later(86460)) }
        let expiredKey = try Fixture.announcement(identity, keyExpires: Fixture.later(-100))
        #expect(throws: MembershipError.noValidKey) { try verify(nil, expiredKey.text) }
    }

    @Test func `only a higher sequence number is accepted`() throws {
        #expect(throws: MembershipError.staleSequence(known: 5, got: 5)) { try verify(known: 5) }
        #expect(throws: MembershipError.staleSequence(known: 6, got: 5)) { try verify(known: 6) }
        #expect(try verify(known: 4).announcement.sequence == 5)
    }

    @Test(arguments: [
        #"{"alg":"none","typ":"JWT","kid":"K"}"#, #"{"alg":"HS256","typ":"JWT","kid":"K"}"#,
        #"{"alg":"ES256","typ":"JWT","kid":"K"}"#, #"{"alg":"eddsa","typ":"JWT","kid":"K"}"#,
        #"{"typ":"JWT","kid":"K"}"#, #"{"alg":"EdDSA","kid":"K"}"#, #"{"alg":"EdDSA","typ":"jws","kid":"K"}"#,
        #"{"alg":"EdDSA","typ":"JWT","kid":"K","crit":["exp"]}"#, #"{"alg":"EdDSA","typ":"JWT","kid":"K","crit":[]}"#,
        #"{"alg":"EdDSA","alg":"none","typ":"JWT","kid":"K"}"#, #"{"alg":"EdDSA","typ":"JWT"}"#, #"["EdDSA"]"#,
    ])
    func `another header is refused though the authority signed it`(header: String) throws {
        let kid = Credential.keyID(of: authority.publicKey)
        let text = Fixture.jws(
            header: header.split(separator: "\"K\"", omittingEmptySubsequences: false).joined(separator: "\"\(kid)\""),
            payload: String(decoding: Base64.decodeURL(credential.text.split(separator: ".")[1])!, as: UTF8.self),
            signedBy: try Fixture.identity(100))
        #expect(throws: MembershipError.self) { try verify(text) }
    }

    @Test func `text that is not canonical is refused`() {
        let text = credential.text
        #expect(throws: MembershipError.self) { try verify(text + "=") }
        #expect(throws: MembershipError.self) { try verify(text + ".") }
        #expect(throws: MembershipError.self) { try verify(" " + text) }
        #expect(throws: MembershipError.oversized(what: "credential", limit: 2048, got: 3000)) {
            try verify(String(repeating: "A", count: 3000))
        }
    }

    @Test func `a credential that python-cryptography made verifies`() throws {
        // Authority seed 100 x32, identity seed 1 x32; other member order, white space and an unknown claim.
        let text = [
            "eyJ0eXAiOiAiSldUIiwgImFsZyI6ICJFZERTQSIsICJraWQiOiAiYWM3M2I5YzI1OTJmNTFhODg5OTEyZGRiNjBkMDE1ZTEifQ.e",
            "yJqdGkiOiAiMDAiLCAiaXNzIjogImRlbW8iLCAic3ViIjogInNwaWZmZTovL2RlbW8vYWdlbnQvYWdlbnQtMSIsICJuYW1lIjogI",
            "mFnZW50LTEiLCAiY25mIjogeyJqd2siOiB7IngiOiAiaW9qajNYUUo4Wlg5VXRzdFBMcGRjc3BuQ2I4ZGxCSWI4M1NJQWJRUGIxd",
            "yIsICJjcnYiOiAiRWQyNTUxOSIsICJrdHkiOiAiT0tQIn19LCAiaXBzIjogWyJmZDEyOjM0NTY6Nzg5YToxOjo3Il0sICJpYXQiO",
            "iAxODAwMDAwMDAwLCAiZXhwIjogMTgwMDA4NjQwMCwgImF1ZCI6ICJ4In0.Qu_4VMSYN1jPYBomdUh03nlH6J6TpShW0SrF-mDH1",
            "unksmKVI7Snj4kaT_7qW8JL3WRoh9R92Vvbmh1jAnWRCg",
        ].joined()
        #expect(try verify(text).credential.name == "agent-1")
    }

    @Test func `the longest credential and announcement fit a datagram each`() throws {
        let longest = String(repeating: "m", count: 63)
        let wide = Authority(mesh: longest, ranges: [Fixture.range], key: try Fixture.key(100))
        var random = SeededRandom(seed: 3)
        let addresses = (0..<4).map {
            IPAddress.v6(IPv6Address(high: 0xfd11_1111_2222_3333, low: 0x4444_5555_6666_7770 + $0))
        }
        let late = WallTime(seconds: 99_999_000_000)
        let credential = try wide.issue(
            name: longest, addresses: addresses, identityKey: identity.publicKey, now: late, using: &random)
        #expect(credential.text.utf8.count <= 1100)
        let key = Announcement.StaticKey(key: Fixture.pin, notBefore: late, expires: late)
        let relay = Announcement.HomeRelay(
            id: identity.id, endpoint: Endpoint(.v6(IPv6Address(high: .max - 1, low: .max - 1)), port: 65535))
        let announcement = try Announcement(
            identity: identity, sequence: .max, expires: late, keys: [key, key, key], relays: [relay, relay, relay])
        #expect(announcement.text.utf8.count <= 1100)
        #expect(throws: MembershipError.self) {
            try Announcement(identity: identity, sequence: 1, expires: late, keys: [key, key, key, key], relays: [])
        }
        #expect(throws: MembershipError.noValidKey) {
            try Announcement(identity: identity, sequence: 1, expires: late, keys: [], relays: [])
        }
    }
}
