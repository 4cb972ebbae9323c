import Addressing
import STUN
import TestSupport
import Testing
import Timing

@Suite struct BindingServerTests {
    let source = Endpoint(.v4(IPv4Address(192, 0, 2, 1)), port: 32853)
    let now = MonotonicTime(nanoseconds: 1_000_000_000)

    func server(excess: AnswerBudget.Excess?) -> BindingServer {
        var random = SeededRandom(seed: 1)
        var configuration = BindingServer.Configuration()
        configuration.excess = excess
        return BindingServer(configuration, now: now, using: &random)
    }

    func ask(_ server: inout BindingServer, _ bytes: [UInt8], from source: Endpoint? = nil) -> BindingServer.Answer {
        unsafe server.receive(bytes.span.bytes, from: source ?? self.source, now: now)
    }

    @Test func `a plain request of 20 bytes is answered with 32 as specified`() throws {
        var server = server(excess: .init())
        guard case .reply(let reply) = ask(&server, MessageBuilder(.request, transaction: sampleTransaction).bytes)
        else {
            Issue.record("no reply")
            return
        }
        #expect(reply.count == 32)
        let message = try parse(reply)
        #expect(message.messageClass == .success)
        #expect(message.transaction == sampleTransaction)
        #expect(message.xorMappedAddress == source)
    }

    @Test func `a plain request is not answered when the answer must not be larger`() {
        var server = server(excess: nil)
        let answer = ask(&server, MessageBuilder(.request, transaction: sampleTransaction).bytes)
        #expect(answer == .drop(.answerTooLarge))
        #expect(server.count(of: .answerTooLarge) == 1)
    }

    @Test(arguments: ["192.0.2.1:1", "[2001:db8::1]:65535"])
    func `our client's request is answered within its size`(text: String) throws {
        var server = server(excess: nil)
        var random = SeededRandom(seed: 2)
        let endpoint = try #require(Endpoint(text))
        var client = BindingClient(servers: [source], now: now)
        guard case .send(let request, _)? = client.poll(now: now, using: &random).first,
            case .reply(let reply) = ask(&server, request, from: endpoint)
        else {
            Issue.record("no reply")
            return
        }
        #expect(reply.count <= request.count)
        #expect(try parse(reply).xorMappedAddress == endpoint)
    }

    @Test func `a fingerprint is answered with one`() throws {
        var server = server(excess: .init())
        var builder = MessageBuilder(.request, transaction: sampleTransaction)
        builder.appendFingerprint()
        guard case .reply(let reply) = ask(&server, builder.bytes) else {
            Issue.record("no reply")
            return
        }
        #expect(try parse(reply).hasFingerprint)
    }

    @Test func `unknown attributes that must be understood are answered with 420 and their types`() throws {
        var server = server(excess: .init())
        guard case .reply(let reply) = ask(&server, sampleRequest) else {
            Issue.record("no reply")
            return
        }
        let message = try parse(reply)
        #expect(message.messageClass == .error)
        #expect(message.errorCode == 420)
        #expect(message.unknownAttributes == [AttributeType(rawValue: 0x0024)])
        #expect(message.xorMappedAddress == nil)
    }

    @Test func `a wish for another address is refused with 420`() throws {
        var server = server(excess: .init())
        var builder = MessageBuilder(.request, transaction: sampleTransaction)
        builder.append(.changeRequest, [0, 0, 0, 6])
        guard case .reply(let reply) = ask(&server, builder.bytes) else {
            Issue.record("no reply")
            return
        }
        #expect(try parse(reply).unknownAttributes == [.changeRequest])
    }

    @Test func `responses, indications and other methods get no answer, so that no loop can start`() {
        var server = server(excess: .init())
        #expect(ask(&server, sampleIPv4Response) == .drop(.notRequest))
        #expect(ask(&server, MessageBuilder(.indication, transaction: sampleTransaction).bytes) == .drop(.notRequest))
        let allocate = MessageBuilder(.request, method: 3, transaction: sampleTransaction).bytes
        #expect(ask(&server, allocate) == .drop(.unknownMethod))
        #expect(ask(&server, [0, 1, 0, 0]) == .drop(.malformed))
    }

    @Test func `a flood from one address is limited and another address still answered`() {
        var server = server(excess: .init())
        let request = MessageBuilder(.request, transaction: sampleTransaction).bytes
        for _ in 0..<10_000 { _ = ask(&server, request) }
        #expect(server.answered == 256)
        #expect(server.count(of: .rateLimited) == 10_000 - 256)
        let other = Endpoint(.v4(IPv4Address(198, 51, 100, 7)), port: 1)
        guard case .reply = ask(&server, request, from: other) else {
            Issue.record("the other address got no reply")
            return
        }
    }

    @Test func `no mutated datagram gets a larger answer`() {
        var server = server(excess: nil)
        var random = SeededRandom(seed: 3)
        for round in 0..<50_000 {
            let bytes = random.mutated(round % 2 == 0 ? sampleRequest : sampleLongTermRequest)
            let source = Endpoint(.v4(IPv4Address(value: UInt32(truncatingIfNeeded: random.next()))), port: 9)
            if case .reply(let reply) = ask(&server, bytes, from: source) { #expect(reply.count <= bytes.count) }
        }
        #expect(server.answered > 100)
    }
}

@Suite struct SourceLimiterTests {
    @Test func `each address has its burst and then its rate`() {
        var random = SeededRandom(seed: 4)
        var limiter = SourceLimiter(limit: .init(perSecond: 10, burst: 20), now: .zero, using: &random)
        let address = IPAddress.v4(IPv4Address(10, 0, 0, 1))
        let burst = (0..<100).count { _ in limiter.allows(address, now: .zero) }
        #expect(burst == 20)
        let later = (0..<100).count { _ in limiter.allows(address, now: .zero + .seconds(1)) }
        #expect(later == 10)
    }

    @Test func `addresses of one IPv6 subnet share a bucket`() {
        var random = SeededRandom(seed: 5)
        var limiter = SourceLimiter(limit: .init(perSecond: 1, burst: 5), now: .zero, using: &random)
        let passed = (0..<100).count { limiter.allows(.v6(IPv6Address(high: 1, low: $0)), now: .zero) }
        #expect(passed == 5)
    }

    @Test func `a flood from 200 addresses stops hardly any other`() {
        var random = SeededRandom(seed: 6)
        var limiter = SourceLimiter(limit: .init(perSecond: 1, burst: 5), now: .zero, using: &random)
        for address in 0..<200 as Range<UInt32> {
            for _ in 0..<50 { _ = limiter.allows(.v4(IPv4Address(value: address)), now: .zero) }
        }
        let passed = (0..<1000).count { limiter.allows(.v4(IPv4Address(value: 1 << 24 + $0)), now: .zero) }
        #expect(passed > 980)
    }
}

@Suite struct TokenBucketTests {
    @Test func `it fills at its rate and never above its burst`() {
        let limit = TokenBucket.Limit(perSecond: 3, burst: 6)
        var bucket = TokenBucket(full: limit, now: .zero)
        let all = bucket.take(6, limit: limit, now: .zero)
        let none = bucket.take(1, limit: limit, now: .zero + .milliseconds(333))
        let one = bucket.take(1, limit: limit, now: .zero + .milliseconds(334))
        let late = MonotonicTime(nanoseconds: .max - 1)
        let tooMuch = bucket.take(7, limit: limit, now: late)
        let burst = bucket.take(6, limit: limit, now: late)
        #expect((all, none, one, tooMuch, burst) == (true, false, true, false, true))
    }

    @Test func `it lends units of what will flow in and says how long to wait`() {
        let limit = TokenBucket.Limit(perSecond: 10, burst: 2)
        var bucket = TokenBucket(full: limit, now: .zero)
        let waits = (0..<4).map { _ in bucket.takeAhead(1, limit: limit, now: .zero) }
        #expect(waits == [.zero, .zero, .milliseconds(100), .milliseconds(200)])
        let early = bucket.take(1, limit: limit, now: .zero + .milliseconds(250))
        let paid = bucket.takeAhead(1, limit: limit, now: .zero + .milliseconds(300))
        let isFull = bucket.isFull(limit: limit, now: .zero + .seconds(10))
        #expect((early, paid, isFull) == (false, .zero, true))
    }

    @Test func `what is lent adds up to the rate, whatever it is`() {
        var random = SeededRandom(seed: 7)
        for _ in 0..<100 {
            let limit = TokenBucket.Limit(perSecond: .random(in: 1...1_000_000, using: &random), burst: 3)
            var bucket = TokenBucket(full: limit, now: .zero)
            var wait = Interval.zero
            for _ in 0..<1003 { wait = bucket.takeAhead(1, limit: limit, now: .zero) }
            #expect(abs(wait.seconds - 1000 / Double(limit.perSecond)) < 1e-5)
        }
    }

    @Test func `time that runs backwards fills nothing and traps nothing`() {
        let limit = TokenBucket.Limit(perSecond: .max, burst: .max)
        var bucket = TokenBucket(full: limit, now: .zero + .seconds(9))
        let all = bucket.take(1 << 34, limit: limit, now: .zero + .seconds(9))
        let more = bucket.take(1, limit: limit, now: .zero)
        let huge = bucket.take(.max, limit: limit, now: .zero + .seconds(10))
        #expect((all, more, huge) == (true, false, false))
    }
}
