import Addressing
import Membership
import TestSupport
import Testing
import Timing

@testable import Sidecar

@Suite struct IntroductionTests {
    @Test func `both parts survive a round trip`() {
        for part in [Introduction.credential([1, 2, 3]), .announcement([UInt8](repeating: 9, count: 1196))] {
            #expect(Introduction(decoding: part.encode()) == part)
        }
    }

    @Test func `the layout is four bytes and the text`() {
        #expect(Introduction.credential([65]).encode() == [0xd0, 1, 1, 0, 65])
        #expect(Introduction.announcement([66]).encode() == [0xd0, 1, 2, 0, 66])
    }

    @Test func `everything else is refused`() {
        for bytes: [UInt8] in [
            [], [0xd0], [0xd0, 1, 1, 0], [0xd1, 1, 1, 0, 65], [0xd0, 2, 1, 0, 65], [0xd0, 1, 0, 0, 65],
            [0xd0, 1, 3, 0, 65], [0xd0, 1, 1, 1, 65], [0xd0, 1, 1, 0] + [UInt8](repeating: 65, count: 1197),
        ] { #expect(Introduction(decoding: bytes) == nil) }
    }

    @Test func `random bytes never trap it`() {
        var random = SeededRandom(seed: 3)
        for _ in 0..<20_000 {
            var bytes = (0..<Int.random(in: 0...40, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            if bytes.count > 2, Bool.random(using: &random) { (bytes[0], bytes[1]) = (0xd0, 1) }
            if let part = Introduction(decoding: bytes) { #expect(part.encode() == bytes) }
        }
    }
}

@Suite struct StrangersTests {
    let start = MonotonicTime.zero + .seconds(10)
    let source = AgentID(high: 1, low: 1)
    let initiation = [UInt8](repeating: 1, count: 148)

    private func introduce(
        _ source: AgentID, _ strangers: inout Strangers, now: MonotonicTime, text: UInt8 = 66
    ) -> Strangers.Complete? {
        _ = strangers.add(.credential([65]), from: source, now: now)
        _ = strangers.add(.announcement([text]), from: source, now: now)
        return strangers.hold(initiation: initiation, from: source, now: now)
    }

    @Test func `an introduction and its initiation are complete in any order`() {
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            var strangers = Strangers(now: start)
            let results = order.map { step in
                switch step {
                case 0: strangers.add(.credential([65]), from: source, now: start)
                case 1: strangers.add(.announcement([66]), from: source, now: start)
                default: strangers.hold(initiation: initiation, from: source, now: start)
                }
            }
            #expect(results[0] == nil && results[1] == nil)
            #expect(
                results[2]
                    == Strangers.Complete(record: Record(credential: "A", announcement: "B"), initiation: initiation))
        }
    }

    @Test func `parts that are a second apart are not put together`() {
        var strangers = Strangers(now: start)
        _ = strangers.add(.credential([65]), from: source, now: start)
        _ = strangers.add(.announcement([66]), from: source, now: start)
        #expect(strangers.hold(initiation: initiation, from: source, now: start + .seconds(1)) == nil)
        #expect(strangers.count == 1)
    }

    @Test func `a peer's news is complete with its announcement, and needs no initiation`() {
        var strangers = Strangers(now: start)
        let known = Record(credential: "C", announcement: "old")
        let first = strangers.add(.announcement([66]), from: source, known: known, now: start)
        #expect(first == Strangers.Complete(record: Record(credential: "C", announcement: "B"), initiation: nil))
        let second = strangers.add(.credential([65]), from: source, known: known, now: start)
        #expect(second == Strangers.Complete(record: Record(credential: "A", announcement: "B"), initiation: nil))
    }

    @Test func `one source has three verifications a second`() {
        var strangers = Strangers(now: start)
        let complete = (0..<50).compactMap { _ in introduce(source, &strangers, now: start) }
        #expect(complete.count == Strangers.verificationsPerSource)
        #expect(introduce(source, &strangers, now: start + .seconds(1)) != nil)
    }

    @Test func `all sources together have a fixed rate`() {
        var strangers = Strangers(now: start)
        var count = 0
        for number in 0..<1000 where introduce(AgentID(high: 2, low: UInt64(number)), &strangers, now: start) != nil {
            count += 1
        }
        #expect(count == 200)
        #expect(strangers.count <= Strangers.limit)
    }

    @Test func `a flood of forged sources holds a fixed number and keeps no newcomer out`() {
        var strangers = Strangers(now: start)
        var random = SeededRandom(seed: 5)
        for _ in 0..<100_000 {
            let forged = AgentID(high: random.next(), low: random.next())
            _ = strangers.add(.credential([1]), from: forged, now: start)
        }
        #expect(strangers.count == Strangers.limit)
        #expect(introduce(source, &strangers, now: start) != nil)
        _ = strangers.add(.credential([1]), from: source, now: start + .seconds(5))
        #expect(strangers.count == 1)
    }

    @Test func `the first initiation stays, as a later one may be a replay`() {
        var strangers = Strangers(now: start)
        _ = strangers.hold(initiation: [1], from: source, now: start)
        _ = strangers.hold(initiation: [2], from: source, now: start)
        _ = strangers.add(.credential([65]), from: source, now: start)
        #expect(strangers.add(.announcement([66]), from: source, now: start)?.initiation == [1])
    }
}
