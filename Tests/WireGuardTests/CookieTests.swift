import Addressing
import Sodium
import TestSupport
import Testing
import Timing
import WireGuard

@Suite struct CookieTests {
    private let key: PublicKey
    private let clock = VirtualClock()

    init() throws {
        try Libsodium.initialize()
        var random = SeededRandom(seed: 3)
        key = X25519.publicKey(of: try SecretKey(using: &random))
    }

    private func message(_ generator: inout CookieGenerator) -> [UInt8] {
        var message = [UInt8](repeating: 7, count: 116)
        generator.appendMACs(to: &message, now: clock.now)
        return message
    }

    private func checks(
        _ checker: borrowing CookieChecker, _ message: [UInt8], from path: Path
    ) -> (mac1: Bool, mac2: Bool) {
        unsafe (
            checker.hasValidMAC1(message.span.bytes),
            checker.hasValidMAC2(message.span.bytes, from: PathSource(path), now: clock.now)
        )
    }

    /// One message, its cookie reply, and the generator with the cookie.
    private func exchange(
        _ checker: inout CookieChecker, _ generator: inout CookieGenerator, from path: Path, seed: UInt64 = 9
    ) throws {
        var random = SeededRandom(seed: seed)
        let first = message(&generator)
        let reply = try unsafe checker.reply(
            to: first.span.bytes, receiver: 5, from: PathSource(path), now: clock.now, using: &random)
        #expect(reply.count == 64 && reply.count <= first.count)
        let isConsumed = generator.consume(unsafe reply.span.bytes, now: clock.now)
        #expect(isConsumed)
    }

    @Test func `mac1 is valid for the right key alone`() throws {
        var generator = CookieGenerator(key)
        let checker = CookieChecker(key)
        let other = CookieChecker(.zero)
        var bytes = message(&generator)
        #expect(checks(checker, bytes, from: direct("192.0.2.1:1")) == (true, false))
        #expect(checks(other, bytes, from: direct("192.0.2.1:1")).mac1 == false)
        bytes[3] ^= 1
        #expect(checks(checker, bytes, from: direct("192.0.2.1:1")).mac1 == false)
    }

    @Test(arguments: [
        direct("192.0.2.1:1"), direct("[2001:db8::1]:1"), .relayed(relay: 0, AgentID(high: 1, low: 2)),
    ]) func `a cookie makes mac2 valid from its source alone`(path: Path) throws {
        var checker = CookieChecker(key)
        var generator = CookieGenerator(key)
        try exchange(&checker, &generator, from: path)
        let bytes = message(&generator)
        #expect(checks(checker, bytes, from: path) == (true, true))
        let others = [
            direct("192.0.2.1:2"), direct("192.0.2.2:1"), direct("[2001:db8::1]:2"), direct("[2001:db8::2]:1"),
            .relayed(relay: 0, AgentID(high: 1, low: 3)),
        ]
        for other in others { #expect(checks(checker, bytes, from: other).mac2 == false, "\(other)") }
    }

    @Test func `the socket and the relay that a message came through do not matter`() throws {
        var checker = CookieChecker(key)
        var generator = CookieGenerator(key)
        try exchange(&checker, &generator, from: direct("192.0.2.1:1", socket: 0))
        #expect(checks(checker, message(&generator), from: direct("192.0.2.1:1", socket: 3)).mac2)
    }

    @Test func `a cookie is used for 120 s and no longer`() throws {
        var checker = CookieChecker(key)
        var generator = CookieGenerator(key)
        let path = direct("192.0.2.1:1")
        try exchange(&checker, &generator, from: path)
        clock.advance(.seconds(120) + .nanoseconds(0))
        let late = message(&generator)
        #expect(late.suffix(16).allSatisfy { $0 == 0 })
    }

    @Test func `the secret changes after 120 s, and cookies of the old one fail`() throws {
        var checker = CookieChecker(key)
        var generator = CookieGenerator(key)
        let path = direct("192.0.2.1:1")
        try exchange(&checker, &generator, from: path)
        clock.advance(.milliseconds(119_999))
        let bytes = message(&generator)
        #expect(checks(checker, bytes, from: path).mac2)
        clock.advance(.milliseconds(1))
        #expect(!checks(checker, bytes, from: path).mac2)
        var other = CookieGenerator(key)
        try exchange(&checker, &other, from: path, seed: 10)
        #expect(!checks(checker, bytes, from: path).mac2)
        #expect(checks(checker, message(&other), from: path).mac2)
    }

    @Test func `a reply is good once, for the last message, and unharmed`() throws {
        var checker = CookieChecker(key)
        var (generator, random) = (CookieGenerator(key), SeededRandom(seed: 4))
        let source = PathSource(direct("192.0.2.1:1"))
        let first = message(&generator)
        let reply = try unsafe checker.reply(
            to: first.span.bytes, receiver: 5, from: source, now: clock.now, using: &random)
        for index in 8..<64 {
            var damaged = reply
            damaged[index] ^= 1
            let isConsumed = generator.consume(unsafe damaged.span.bytes, now: clock.now)
            #expect(!isConsumed, "byte \(index)")
        }
        let once = generator.consume(unsafe reply.span.bytes, now: clock.now)
        let twice = generator.consume(unsafe reply.span.bytes, now: clock.now)
        #expect(once && !twice)
        // The next message has another mac1, because it has other bytes.
        var next = [UInt8](repeating: 8, count: 116)
        generator.appendMACs(to: &next, now: clock.now)
        let again = generator.consume(unsafe reply.span.bytes, now: clock.now)
        #expect(!again)
    }
}

@Suite struct RateLimiterTests {
    private func source(_ text: String) -> PathSource { PathSource(direct(text)).limited }

    @Test func `five at once, then twenty a second`() {
        let clock = VirtualClock()
        var limiter = RateLimiter()
        var allowed = (0..<10).count { _ in limiter.allow(source("192.0.2.1:1"), now: clock.now) }
        #expect(allowed == 5)
        allowed = 0
        for _ in 0..<2000 {
            clock.advance(.milliseconds(1))
            if limiter.allow(source("192.0.2.1:1"), now: clock.now) { allowed += 1 }
        }
        #expect(allowed == 40)
    }

    @Test func `sources do not share, but the ports of an address and the addresses of a 64 do`() {
        let now = MonotonicTime(nanoseconds: 5_000_000_000)
        var limiter = RateLimiter()
        for _ in 0..<5 { _ = limiter.allow(source("192.0.2.1:1"), now: now) }
        let results = ["192.0.2.1:9", "192.0.2.2:1"].map { limiter.allow(source($0), now: now) }
        #expect(results == [false, true])
        for _ in 0..<5 { _ = limiter.allow(source("[2001:db8::1]:1"), now: now) }
        let results6 = ["[2001:db8::2]:9", "[2001:db8:0:1::1]:1"].map { limiter.allow(source($0), now: now) }
        #expect(results6 == [false, true])
    }

    @Test func `memory stays bounded and is given back`() {
        let clock = VirtualClock()
        var limiter = RateLimiter()
        for index in 0..<20_000 {
            let path = Path.direct(socket: 0, Endpoint(.v4(IPv4Address(value: UInt32(index))), port: 1))
            _ = limiter.allow(PathSource(path).limited, now: clock.now)
        }
        #expect(limiter.count == RateLimiter.maximumSources)
        clock.advance(.seconds(1))
        let isAllowed = limiter.allow(source("198.51.100.1:1"), now: clock.now)
        #expect(isAllowed && limiter.count == 1)
    }
}
