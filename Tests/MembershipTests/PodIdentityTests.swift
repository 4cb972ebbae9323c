import Addressing
import Sodium
import Testing
import TestSupport
import Timing

@testable import Membership

@Suite struct PodIdentityTests {
    private static let pod = PodIdentity(cluster: "eu-1", namespace: "shop", serviceAccount: "cart", pod: "cart-0")!

    @Test func `a pod's name has its namespace, and its subject all parts`() {
        #expect(Self.pod.agentName == "cart-0.shop")
        let subject = "spiffe://demo/cluster/eu-1/ns/shop/sa/cart/pod/cart-0"
        #expect(Self.pod.subject(mesh: "demo") == subject)
        #expect(PodIdentity(subject: subject, mesh: "demo") == Self.pod)
        #expect(PodIdentity(subject: subject, mesh: "other") == nil)
    }

    @Test(arguments: [
        "spiffe://demo/agent/cart-0.shop", "spiffe://demo/cluster/eu-1/ns/shop/sa/cart/pod/", "",
        "spiffe://demo/cluster/eu-1/ns/shop/sa/cart/pod/cart-0/",
        "https://demo/cluster/eu-1/ns/shop/sa/cart/pod/cart-0",
        "spiffe://demo/cluster/eu-1/ns/sh.op/sa/cart/pod/cart-0", "spiffe://demo/cluster//ns/shop/sa/cart/pod/cart-0",
        "spiffe://demo/cluster/eu-1/sa/cart/ns/shop/pod/cart-0", "spiffe://demo/cluster/eu-1/ns/shop/sa/cart/pod/CART",
    ])
    func `what is no pod's subject is none`(_ subject: String) {
        #expect(PodIdentity(subject: subject, mesh: "demo") == nil)
    }

    @Test func `names are bounded by their labels`() {
        let label = String(repeating: "a", count: 63)
        func identity(_ pod: String, _ namespace: String = "shop") -> PodIdentity? {
            PodIdentity(cluster: "c", namespace: namespace, serviceAccount: "default", pod: pod)
        }
        #expect(identity(label, label)?.agentName.utf8.count == 127)
        #expect(identity(label + "a") == nil)
        #expect(identity("a.b")?.agentName == "a.b.shop")
        #expect(identity("a", "b.c") == nil, "else pod a.b in c would have the same name")
        #expect(identity("") == nil)
        #expect(!AgentName.isValidMesh(label + ".a"))
    }

    @Test func `a credential says which pod it is for, and nobody else's name fits it`() throws {
        let authority = try Fixture.authority()
        let identity = try Fixture.identity()
        var random = SeededRandom(seed: 1)
        let credential = try authority.issue(
            name: Self.pod.agentName, addresses: [Fixture.address], pod: Self.pod, identityKey: identity.publicKey,
            now: Fixture.now, expires: Fixture.later(100), using: &random)
        #expect(credential.expires == Fixture.later(100))
        let read = try Credential(
            verifying: credential.text, mesh: "demo", authorityKey: authority.publicKey, now: Fixture.now)
        #expect(read == credential)
        #expect(read.pod == Self.pod && read.name == "cart-0.shop")
        #expect(read.subject == "spiffe://demo/cluster/eu-1/ns/shop/sa/cart/pod/cart-0")

        let other = try authority.issue(
            name: "db-0.shop", addresses: [Fixture.address], pod: Self.pod, identityKey: identity.publicKey,
            now: Fixture.now, using: &random)
        #expect(throws: MembershipError.malformed("credential")) {
            try Credential(verifying: other.text, mesh: "demo", authorityKey: authority.publicKey, now: Fixture.now)
        }
        let plain = try Fixture.credential(identity, by: authority)
        #expect(plain.pod == nil && plain.subject == "spiffe://demo/agent/agent-1")
    }

    @Test func `names that are too long for a credential are refused when it is made`() throws {
        let label = String(repeating: "a", count: 63)
        let long = PodIdentity(cluster: label, namespace: label, serviceAccount: "\(label).\(label)", pod: label)!
        var random = SeededRandom(seed: 1)
        #expect(throws: MembershipError.self) {
            try Fixture.authority(mesh: label).issue(
                name: long.agentName, addresses: [Fixture.address, Fixture.other], pod: long,
                identityKey: try Fixture.identity().publicKey, now: Fixture.now, using: &random)
        }
    }

    @Test func `a lease keeps its pod`() throws {
        let lease = Lease(
            identityKey: try Fixture.identity().publicKey, name: "cart-0.shop", addresses: [Fixture.address],
            expires: Fixture.now, tokenHash: .zero, pod: LeasedPod(identity: Self.pod, uid: "u-1", node: "n-1"))
        #expect(Lease(json: lease.json) == lease)
        // One whose pod can't be read is no lease: without it, the identity key alone would renew it.
        let text = String(decoding: lease.json.text, as: UTF8.self)
        let damaged = text.split(separator: "\"ns\":\"shop\"", maxSplits: 1).joined(separator: "\"ns\":\"\"")
        #expect(damaged != text)
        #expect(JSONValue(parsing: Array(damaged.utf8)).map { Lease(json: $0) == nil } == true)
    }

    @Test(
        arguments: [
            (nil, []), ("", []), ("web", ["web.shop"]), ("web.api", ["web.shop", "api.shop"]),
            ("a.b.c.d", ["a.shop", "b.shop", "c.shop", "d.shop"]), ("a.b.c.d.e", nil), ("web.web", nil), ("Web", nil),
            ("a..b", nil), ("a_b", nil),
        ] as [(String?, [String]?)])
    func `a label names groups of its own namespace`(_ label: String?, _ groups: [String]?) {
        #expect(PodGroups.list(label, namespace: "shop") == groups)
    }
}

@Suite struct HubReferenceTests {
    @Test func `the public part of a token stands alone, and a token has it`() throws {
        try Libsodium.initialize()
        let hub = try HubReference(
            mesh: "demo", address: HubAddress("hub.example:7443")!, pin: Fixture.pin,
            authorityKey: try Fixture.identity().publicKey)
        #expect(hub.text.hasPrefix("warrenhub1."))
        #expect(try HubReference(" \n\(hub.text)\n") == hub)
        let secret = [UInt8](repeating: 0x5a, count: 32)
        let token = JoinToken(hub, secret: try SecretKey(copying: secret))
        #expect(try JoinToken(token.exportText()).hub == hub)
        let bytes = try #require(Base64.decodeURL(hub.text.dropFirst("warrenhub1.".count)))
        #expect(!bytes.indices.contains { bytes[$0...].starts(with: secret) }, "no secret is in it")
    }

    @Test func `junk is refused, and so is one for the other`() throws {
        try Libsodium.initialize()
        let hub = try HubReference(
            mesh: "demo", address: HubAddress("[2001:db8::1]:443")!, pin: Fixture.pin,
            authorityKey: try Fixture.identity().publicKey)
        let token = JoinToken(hub, secret: try SecretKey(copying: [UInt8](repeating: 1, count: 32))).exportText()
        var texts = ["", "warrenhub1.", "warrenhub1.!!", token, String(hub.text.dropLast(2)), hub.text + "AA"]
        texts.append(String(repeating: "w", count: 5000))
        for text in texts { #expect(throws: MembershipError.self) { try HubReference(text) } }
        #expect(throws: MembershipError.self) { _ = try JoinToken(hub.text).mesh }
        // Every change of one byte is another hub, or none; never a trap.
        var random = SeededRandom(seed: 7)
        for _ in 0..<2000 {
            let mutated = random.mutated(Array(hub.text.utf8))
            if let other = try? HubReference(String(decoding: mutated, as: UTF8.self)), other.text == hub.text {
                #expect(other == hub)
            }
        }
    }
}

@Suite struct AccountRulesTests {
    private static func pod(_ name: String = "cart-0", uid: String = "u-2", node: String = "node-1") -> ReviewedPod {
        let identity = PodIdentity(cluster: "eu-1", namespace: "shop", serviceAccount: "cart", pod: name)!
        return ReviewedPod(pod: LeasedPod(identity: identity, uid: uid, node: node))
    }

    private static func request(_ seed: UInt8 = 1, _ addresses: [IPAddress] = [Fixture.address]) throws
        -> AccountRequest
    {
        AccountRequest(identityKey: try Fixture.identity(seed).publicKey, addresses: addresses, token: [1, 2, 3])
    }

    private static func node(
        _ name: String, _ number: UInt16, _ seed: UInt8 = 50, expires: Int64 = 3600
    ) throws -> NodeLease {
        NodeLease(
            identityKey: try Fixture.identity(seed).publicKey, name: name, number: number,
            expires: Fixture.later(expires))
    }

    private static func lease(_ seed: UInt8, _ pod: ReviewedPod?, expires: Int64 = 3600) throws -> Lease {
        Lease(
            identityKey: try Fixture.identity(seed).publicKey, name: pod?.pod.identity.agentName ?? "x",
            addresses: [Fixture.address], expires: Fixture.later(expires), tokenHash: .zero, pod: pod?.pod)
    }

    @Test func `addresses are in the block of the token's node, or nowhere`() throws {
        let authority = try Fixture.authority()
        let nodes = [try Self.node("node-2", 2, 51), try Self.node("node-1", 1)]
        func admit(_ addresses: [String], _ pod: ReviewedPod = Self.pod()) throws -> Authority.Admission {
            try authority.admit(
                Self.request(1, addresses.map { IPAddress($0)! }), of: pod, nodes: nodes, now: Fixture.now)
        }
        #expect(try admit(["fd12:3456:789a:1::7"]).name == "cart-0.shop")
        let outside = IPAddress("fd12:3456:789a:2::7")!
        #expect(throws: Refusal.outsideNodeBlock(outside, node: "node-1")) { try admit(["fd12:3456:789a:2::7"]) }
        #expect(throws: Refusal.outsideNodeBlock(outside, node: "node-1")) {
            try admit(["fd12:3456:789a:1::7", "fd12:3456:789a:2::7"])
        }
        #expect(throws: Refusal.self) { try admit(["10.0.0.1"]) }
        #expect(throws: Refusal.noAddress) { try admit([]) }
        #expect(throws: Refusal.tooManyAddresses) { try admit(["fd12:3456:789a:1::7", "fd12:3456:789a:1::7"]) }
        #expect(throws: Refusal.noNodeBlock("node-9")) { try admit(["fd12:3456:789a:1::7"], Self.pod(node: "node-9")) }
        let ended = [try Self.node("node-1", 1, expires: -2 * 86400)]
        #expect(throws: Refusal.noNodeBlock("node-1")) {
            try authority.admit(Self.request(), of: Self.pod(), nodes: ended, now: Fixture.now)
        }
    }

    @Test func `a pod takes over from itself, and from pods that are gone only`() throws {
        let request = try Self.request()
        func claim(
            _ holder: Lease?, gone: Set<String> = [], alive: Set<String> = []
        ) throws(Refusal) -> Claim {
            try Authority.claim(
                holder, for: request, of: Self.pod(), gone: gone, alive: alive, taken: .nameTaken("n"), now: Fixture.now
            )
        }
        #expect(try claim(nil) == .free)
        let own = try Self.lease(1, Self.pod())
        #expect(try claim(own) == .free)
        let before = try Self.lease(2, Self.pod(uid: "u-1"))
        #expect(try claim(before) == .void(before), "replaced under the same name")
        let forgot = try Self.lease(2, Self.pod())
        #expect(try claim(forgot) == .void(forgot), "the same pod without its key")
        let neighbour = try Self.lease(2, Self.pod("db-0", uid: "u-9"))
        #expect(try claim(neighbour) == .ask(neighbour.pod!))
        #expect(try claim(neighbour, gone: ["u-9"]) == .void(neighbour))
        #expect(throws: Refusal.nameTaken("n")) { try claim(neighbour, alive: ["u-9"]) }
        let byToken = try Self.lease(2, nil)
        #expect(throws: Refusal.nameTaken("n")) { try claim(byToken, gone: ["u-9"]) }
        let ended = try Self.lease(2, nil, expires: -3600)
        #expect(try claim(ended) == .void(ended))
    }

    @Test func `a node has its block again under another key, and no other's`() throws {
        let plan = BlockPlan(ranges: [Fixture.range])!
        let leases = [try Self.node("node-1", 1, 50), try Self.node("node-2", 2, 51)]
        func choose(_ name: String, _ seed: UInt8) throws -> UInt16 {
            let request = BlockRequest(
                identityKey: try Fixture.identity(seed).publicKey, name: name, tokenHash: .zero)
            return try Authority.chooseProven(for: request, of: leases, in: plan, now: Fixture.now).number
        }
        #expect(try choose("node-1", 50) == 1)
        #expect(try choose("node-1", 60) == 1)
        #expect(try choose("node-3", 60) == 3)
        // Two nodes from one disk have one key.
        #expect(throws: Refusal.nodeNameTaken("node-2")) { try choose("node-3", 51) }
        #expect(throws: Refusal.nodeNameTaken("node-1")) { try choose("node-2", 50) }
    }

    @Test func `only what can be a token goes to the API server`() throws {
        let now = WallTime(seconds: 1_800_000_000)
        func token(_ claims: String) -> [UInt8] {
            Array("eyJhbGciOiJSUzI1NiJ9.\(Base64.encodeURL(Array(claims.utf8))).c2ln".utf8)
        }
        let end = now.seconds + 3600
        #expect(
            ServiceAccountToken.fault(token("{\"aud\":[\"warren\"],\"exp\":\(end)}"), audience: "warren", now: now)
                == nil)
        #expect(
            ServiceAccountToken.fault(token("{\"aud\":\"warren\",\"exp\":\(end)}"), audience: "warren", now: now) == nil
        )
        for wrong in [
            "{\"aud\":[\"https://kubernetes.default.svc\"],\"exp\":\(end)}", "{\"exp\":\(end)}",
            "{\"aud\":[\"warren\"]}",
            "{\"aud\":[\"warren\"],\"exp\":\(now.seconds - 120)}", "[]", "{",
        ] { #expect(ServiceAccountToken.fault(token(wrong), audience: "warren", now: now) != nil, "\(wrong)") }
        for junk in ["", "a", "a.b", "a.b.c.d", "a b.c.d", String(repeating: "a", count: 5000)] {
            #expect(ServiceAccountToken.fault(Array(junk.utf8), audience: "warren", now: now) != nil)
        }
    }
}
