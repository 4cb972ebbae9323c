import Addressing
import STUN
import Sodium
import TestSupport
import Testing
import Timing

@testable import Relay

@Suite struct FrameTests {
    let agent = AgentID(high: 0x0011_2233_4455_6677, low: 0x8899_aabb_ccdd_eeff)
    let observed = Endpoint(.v4(IPv4Address(203, 0, 113, 5)), port: 0x9c40)
    let cookie = AddressCookie(issued: .zero + .nanoseconds(0x0102_0304_0506_0708), high: 9, low: 10)

    var proof: Proof {
        Proof(
            agent: agent, nonce: 5, cookie: cookie, identityKey: .zero, signature: Array(repeating: 3, count: 64),
            credential: Array(repeating: 4, count: 300))
    }

    @Test func `the header is 20 bytes as drawn`() throws {
        let header = FrameHeader(.data, flags: 0x5a, epoch: 0xa5, agent: agent)
        let bytes = header.bytes.indices.map { header.bytes[$0] }
        #expect(Hexadecimal.encode(bytes) == "c0015aa500112233445566778899aabbccddeeff")
        #expect(try unsafe FrameHeader(bytes.span.bytes) == header)
        var written = [UInt8](repeating: 0xff, count: 24)
        unsafe written.withUnsafeMutableBytes { unsafe header.write(to: $0) }
        #expect(written == bytes + [0xff, 0xff, 0xff, 0xff])
    }

    @Test func `control frames are laid out as drawn`() {
        let id = "00112233445566778899aabbccddeeff"
        let cookieText = "0102030405060708" + "0000000000000009" + "000000000000000a"
        let observedText = "00000000000000000000ffffcb0071059c40"
        #expect(
            Hexadecimal.encode(Hello(agent: agent, nonce: 5).bytes)
                == "c1010000" + id + "0000000000000005" + String(repeating: "00", count: 44))
        #expect(
            Hexadecimal.encode(Challenge(agent: agent, nonce: 5, cookie: cookie, observed: observed).bytes)
                == "c2010000" + id + "0000000000000005" + cookieText + observedText)
        #expect(
            Hexadecimal.encode(proof.bytes)
                == "c3010000" + id + "0000000000000005" + cookieText + String(repeating: "00", count: 32)
                + String(repeating: "03", count: 64) + String(repeating: "04", count: 300))
        #expect(
            Hexadecimal.encode(Accepted(agent: agent, epoch: 9, nonce: 5, observed: observed, lifetime: 60).bytes)
                == "c4010009" + id + "0000000000000005" + observedText + "003c")
        #expect(
            Hexadecimal.encode(RelayErrorFrame(code: .notRegistered, epoch: 9, agent: agent, nonce: nil).bytes)
                == "c5010209" + id)
        #expect(
            Hexadecimal.encode(Ping(agent: agent, epoch: 9, nonce: 5).bytes) == "c6010009" + id + "0000000000000005")
        #expect(
            Hexadecimal.encode(Ping(agent: agent, epoch: 9, nonce: 5).pongBytes) == "c7010009" + id + "0000000000000005"
        )
        #expect(Hexadecimal.encode(Drain(agent: agent, epoch: 9, seconds: 30).bytes) == "c8011e09" + id)
    }

    @Test func `control frames survive the way there and back`() throws {
        let hello = Hello(agent: agent, nonce: 5)
        #expect(try unsafe Hello(hello.bytes.span.bytes) == hello)
        let challenge = Challenge(agent: agent, nonce: 5, cookie: cookie, observed: observed)
        #expect(try unsafe Challenge(challenge.bytes.span.bytes) == challenge)
        #expect(try unsafe Proof(proof.bytes.span.bytes) == proof)
        let v6 = try #require(Endpoint("[2001:db8::7]:65535"))
        let accepted = Accepted(agent: agent, epoch: 255, nonce: .max, observed: v6, lifetime: 60)
        #expect(try unsafe Accepted(accepted.bytes.span.bytes) == accepted)
        let ping = Ping(agent: agent, epoch: 1, nonce: 2)
        #expect(try unsafe Ping(ping.bytes.span.bytes) == ping)
        let error = RelayErrorFrame(code: .refused, epoch: 1, agent: agent, nonce: 8)
        #expect(try unsafe RelayErrorFrame(error.bytes.span.bytes) == error)
        let drain = Drain(agent: agent, epoch: 1, seconds: 2)
        #expect(try unsafe Drain(drain.bytes.span.bytes) == drain)
    }

    @Test func `no answer is larger than its question`() {
        #expect(Challenge.size <= Hello.size)
        #expect(Accepted.size <= Proof.headSize + 1)
        #expect(Challenge(agent: agent, nonce: 5, cookie: cookie, observed: observed).bytes.count == Challenge.size)
        #expect(
            Accepted(agent: agent, epoch: 1, nonce: 5, observed: observed, lifetime: 1).bytes.count == Accepted.size)
    }

    @Test func `foreign types, unknown versions and short headers are told apart`() {
        let good = Ping(agent: agent, epoch: 1, nonce: 2).bytes
        func fault(_ bytes: [UInt8]) -> FrameFault? {
            do throws(FrameFault) { _ = try unsafe FrameHeader(bytes.span.bytes) } catch { return error }
            return nil
        }
        #expect(fault([]) == .foreign)
        #expect(fault([0xbf] + good.dropFirst()) == .foreign)
        #expect(fault([0xc6]) == .truncated)
        #expect(fault([0xc6, 2] + good.dropFirst(2)) == .unknownVersion)
        #expect(fault([0xc6, 0] + good.dropFirst(2)) == .unknownVersion)
        #expect(fault(Array(good.prefix(19))) == .truncated)
        #expect(fault(Array(good.prefix(20))) == nil)
    }

    @Test func `a proof without a credential, or with too much of one, is refused`() {
        var empty = proof
        empty.credential = []
        var large = proof
        large.credential = Array(repeating: 0, count: Proof.maximumCredentialSize + 1)
        #expect(throws: FrameFault.truncated) { try unsafe Proof(empty.bytes.span.bytes) }
        #expect(throws: FrameFault.truncated) { try unsafe Proof(large.bytes.span.bytes) }
    }

    @Test func `100,000 mutated frames parse or are refused without a trap`() {
        var random = SeededRandom(seed: 0xc0)
        let samples = [
            Hello(agent: agent, nonce: 5).bytes,
            Challenge(agent: agent, nonce: 5, cookie: cookie, observed: observed).bytes, proof.bytes,
            Accepted(agent: agent, epoch: 9, nonce: 5, observed: observed, lifetime: 60).bytes,
            RelayErrorFrame(code: .refused, epoch: 1, agent: agent, nonce: 8).bytes,
            Ping(agent: agent, epoch: 1, nonce: 2).bytes, Drain(agent: agent, epoch: 1, seconds: 2).bytes,
        ]
        var parsed = 0
        for round in 0..<100_000 {
            let bytes = random.mutated(samples[round % samples.count])
            parsed += (try? unsafe Hello(bytes.span.bytes)) == nil ? 0 : 1
            parsed += (try? unsafe Challenge(bytes.span.bytes)) == nil ? 0 : 1
            parsed += (try? unsafe Proof(bytes.span.bytes)) == nil ? 0 : 1
            parsed += (try? unsafe Accepted(bytes.span.bytes)) == nil ? 0 : 1
            parsed += (try? unsafe RelayErrorFrame(bytes.span.bytes)) == nil ? 0 : 1
            parsed += (try? unsafe Ping(bytes.span.bytes)) == nil ? 0 : 1
            parsed += (try? unsafe Drain(bytes.span.bytes)) == nil ? 0 : 1
        }
        #expect(parsed > 1000)
    }
}

@Suite struct CookieIssuerTests {
    let agent = AgentID(high: 1, low: 2)
    let source = RelayLink(Endpoint(.v4(IPv4Address(203, 0, 113, 5)), port: 40000))

    @Test func `a cookie is good only for its endpoint, its id and its issuer, unchanged`() throws {
        var random = SeededRandom(seed: 1)
        let issuer = try CookieIssuer(lifetime: .seconds(30), now: .zero, using: &random)
        let other = try CookieIssuer(lifetime: .seconds(30), now: .zero, using: &random)
        let now = MonotonicTime.zero + .seconds(1)
        let cookie = issuer.issue(to: source, agent: agent, now: now)
        #expect(issuer.verify(cookie, from: source, agent: agent, now: now) == .valid)
        #expect(issuer.verify(cookie, from: source, agent: AgentID(high: 1, low: 3), now: now) == .foreign)
        let otherPort = Endpoint(source.endpoint.address, port: 1)
        #expect(issuer.verify(cookie, from: RelayLink(otherPort), agent: agent, now: now) == .foreign)
        let stream = RelayLink(stream: 1, from: source.endpoint)
        #expect(issuer.verify(cookie, from: stream, agent: agent, now: now) == .foreign)
        let otherHost = Endpoint(.v4(IPv4Address(203, 0, 113, 6)), port: source.endpoint.port)
        #expect(issuer.verify(cookie, from: RelayLink(otherHost), agent: agent, now: now) == .foreign)
        #expect(other.verify(cookie, from: source, agent: agent, now: now) == .foreign)
        for bit in 0..<64 as Range<UInt64> {
            for changed in [
                AddressCookie(issued: cookie.issued, high: cookie.high ^ 1 << bit, low: cookie.low),
                AddressCookie(issued: cookie.issued, high: cookie.high, low: cookie.low ^ 1 << bit),
                AddressCookie(
                    issued: MonotonicTime(nanoseconds: cookie.issued.nanoseconds ^ 1 << bit), high: cookie.high,
                    low: cookie.low),
            ] {
                #expect(issuer.verify(changed, from: source, agent: agent, now: now) != .valid)
            }
        }
    }

    @Test func `a cookie expires, survives one change of secret and not two`() throws {
        var random = SeededRandom(seed: 2)
        var issuer = try CookieIssuer(lifetime: .seconds(120), now: .zero, using: &random)
        let start = MonotonicTime.zero + .seconds(119)
        let cookie = issuer.issue(to: source, agent: agent, now: start)
        issuer.rotate(now: .zero + .seconds(120), using: &random)
        #expect(issuer.verify(cookie, from: source, agent: agent, now: .zero + .seconds(121)) == .valid)
        #expect(issuer.verify(cookie, from: source, agent: agent, now: .zero + .seconds(240)) == .expired)
        issuer.rotate(now: .zero + .seconds(240), using: &random)
        #expect(issuer.verify(cookie, from: source, agent: agent, now: .zero + .seconds(239)) == .foreign)
    }
}
