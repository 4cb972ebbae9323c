import Addressing
import Sodium
import Testing
import Traversal

@Suite struct ProbeSealTests {
    let endpoint = Endpoint(.v4(IPv4Address(198, 51, 100, 7)), port: 4000)

    @Test func `each message survives a round trip`() throws {
        var seals = try Seals()
        let candidates = (0..<8).map { Candidate(.host, Endpoint(.v4(IPv4Address(10, 0, 0, $0)), port: 9)) }
        let v6 = Endpoint(try #require(IPAddress("2001:db8::7")), port: 1)
        for message: ProbeMessage in [
            .ping(transaction: 7), .pong(transaction: .max, observed: endpoint), .pong(transaction: 1, observed: v6),
            .call(Call(.wantsAnswer, candidates: candidates)), .call(Call()), .ping(transaction: 9, padding: 1400),
            .keepalive(Keepalive(.plain)), .keepalive(Keepalive(.asks, known: 115, wanted: 240)),
        ] {
            let sealed = seals.a.seal(message)
            let opened = try seals.b.open(sealed)
            #expect(opened == message)
            #expect(unsafe ProbeSeal.source(of: sealed.span.bytes) == AgentID(high: 1, low: 1))
        }
    }

    @Test func `a pong is not larger than its ping`() throws {
        var seals = try Seals()
        let ping = seals.a.seal(.ping(transaction: 1))
        let pong = seals.b.seal(.pong(transaction: 1, observed: endpoint))
        #expect(pong.count <= ping.count)
    }

    @Test func `a flipped bit anywhere is refused and changes nothing`() throws {
        var seals = try Seals()
        let sealed = seals.a.seal(.ping(transaction: 1))
        for bit in 0..<(sealed.count * 8) {
            var forged = sealed
            forged[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(refusal(forged, by: &seals.b) != nil)
        }
        let opened = try seals.b.open(sealed)
        #expect(opened == .ping(transaction: 1))
    }

    @Test func `a replayed, reflected, truncated or oversized probe is refused`() throws {
        var seals = try Seals()
        let first = seals.a.seal(.ping(transaction: 1))
        let second = seals.a.seal(.ping(transaction: 2))
        _ = try seals.b.open(second)
        _ = try seals.b.open(first)
        #expect(refusal(first, by: &seals.b) == .replayed)
        #expect(refusal(first, by: &seals.a) == .malformed)
        for length in 0..<first.count {
            #expect(refusal(Array(first[..<length]), by: &seals.b) != nil)
        }
        #expect(refusal(first + [UInt8](repeating: 0, count: 9000), by: &seals.b) == .malformed)
    }

    @Test func `a probe older than the window is refused`() throws {
        var seals = try Seals()
        let old = seals.a.seal(.ping(transaction: 1))
        for _ in 0..<960 { _ = try seals.b.open(seals.a.seal(.ping(transaction: 2))) }
        #expect(refusal(old, by: &seals.b) == .replayed)
    }

    @Test func `a probe for another agent or by another key is refused`() throws {
        var seals = try Seals()
        var other = try Seals()
        let sealed = seals.a.seal(.ping(transaction: 1))
        #expect(refusal(sealed, by: &other.b) == .authentication)
    }

    private func refusal(_ datagram: [UInt8], by seal: inout ProbeSeal) -> ProbeSeal.Refusal? {
        do {
            _ = try seal.open(datagram)
            return nil
        } catch {
            return error
        }
    }
}

/// Both ends of one pair of agents, with keys of their own.
private struct Seals: ~Copyable {
    var a: ProbeSeal
    var b: ProbeSeal

    init() throws {
        try Libsodium.initialize()
        var random = SecureRandom()
        let keyA = try SecretKey(using: &random)
        let keyB = try SecretKey(using: &random)
        let (idA, idB) = (AgentID(high: 1, low: 1), AgentID(high: 2, low: 2))
        let a = try ProbeSeal(
            localID: idA, localKey: keyA, remoteID: idB, remoteKey: X25519.publicKey(of: keyB), epoch: 100)
        let b = try ProbeSeal(
            localID: idB, localKey: keyB, remoteID: idA, remoteKey: X25519.publicKey(of: keyA), epoch: 90)
        self.a = a
        self.b = b
    }
}
