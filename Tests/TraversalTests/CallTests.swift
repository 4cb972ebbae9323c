import Addressing
import TestSupport
import Testing
import Timing

@testable import Traversal

/// Calls and what is in them, as bytes; and the small values that judge.
@Suite struct CallTests {
    private func sample() -> Call {
        var call = Call(
            [.wantsAnswer, .isDirect], candidates: (0..<8).map { Candidate(.host, HostileBench.place($0, port: 9)) })
        call.relayMilliseconds = 43
        call.behavior = NATBehavior(
            .addressAndPortDependent, .addressDependent, .block(2000...2063), remapsAfterUnsolicited: true)
        call.bindingSeconds = 110
        call.extraSockets = 264
        call.nextPort = 40_001
        call.opened = Call.Opened(first: HostileBench.place(3, port: 2000), step: 2, count: 64)
        return call
    }

    @Test func `a call survives the wire, with and without an opened range`() {
        var call = sample()
        for _ in 0..<2 {
            var bytes: [UInt8] = []
            call.encode(into: &bytes)
            #expect(Call(decoding: bytes[...]) == call)
            for length in 0..<bytes.count { #expect(Call(decoding: bytes[..<length]) == nil) }
            call.opened = nil
        }
    }

    @Test func `each allocation survives the wire`() {
        for allocation: NATBehavior.Allocation in [
            .unknown, .preserving, .rewritten, .sequential(step: 3), .block(1024...1087), .random,
        ] {
            var bytes: [UInt8] = []
            let behavior = NATBehavior(.endpointIndependent, .addressAndPortDependent, allocation)
            behavior.encode(into: &bytes)
            #expect(bytes.count == NATBehavior.wireSize)
            #expect(NATBehavior(decoding: bytes[...]) == behavior)
        }
    }

    @Test func `random bytes never trap, and what is read is within its limits`() {
        var random = SeededRandom(seed: 5)
        for _ in 0..<20_000 {
            var bytes = (0..<Int(random.below(260))).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            if !bytes.isEmpty { bytes[0] = UInt8(random.below(7)) }
            guard case .call(let call)? = ProbeMessage(decoding: bytes) else { continue }
            #expect(call.candidates.count <= Call.maximumCandidates)
            if case .block(let ports) = call.behavior.allocation { #expect(ports.count <= 2048) }
        }
    }

    @Test func `a window accepts each counter once, out of order within 960, and nothing older`() {
        var window = ProbeWindow()
        var random = SeededRandom(seed: 6)
        var seen: Set<UInt64> = []
        var highest: UInt64 = 0
        for _ in 0..<50_000 {
            let counter = 1 + random.below(highest + 40)
            let isNew = !seen.contains(counter)
            let isRecent = counter + ProbeWindow.size > highest
            let isAccepted = window.accept(counter)
            #expect(isAccepted == (isNew && isRecent))
            if isRecent { seen.insert(counter) }
            highest = max(highest, isRecent ? counter : 0)
        }
        let last = [0, .max, .max, 1].map { window.accept($0) }
        #expect(last == [false, true, false, false])
    }

    @Test func `lifetimes are found in few steps, and a lapse is believed the second time`() {
        let start = MonotonicTime(nanoseconds: 1_000_000_000)
        for (lifetime, expected, steps) in [
            (30, 0, [115, 55]), (60, 55, [115, 55]), (120, 115, [115]), (300, 115, [115]),
        ] as [(Int, UInt16, [UInt16])] {
            var binding = BindingLifetime()
            func climb(now: MonotonicTime) -> [UInt16] {
                var asked: [UInt16] = []
                while let step = binding.nextStep(now: now) {
                    asked.append(step)
                    if step < lifetime {
                        binding.survived(.seconds(UInt64(step)), now: now)
                    } else {
                        binding.lapsed(step, now: now)
                    }
                }
                return asked
            }
            #expect(climb(now: start) == steps)
            #expect(binding.known == expected)
            // What did not hold is tried once more, an hour later; and what is more than enough for most, not before then.
            #expect(climb(now: start + .seconds(3599)) == [])
            #expect(climb(now: start + .seconds(3600)) == (lifetime < 60 ? [55] : lifetime < 120 ? [115] : [240]))
            #expect(climb(now: start + .seconds(7200)) == (lifetime == 120 ? [240] : []))
            #expect(climb(now: start + .seconds(20_000)) == [])
            #expect(binding.known == (lifetime == 300 ? 240 : expected))
        }
        #expect(BindingLifetime.spacing(115) == .seconds(110))
        #expect(BindingLifetime.spacing(0) < .seconds(28))
    }

    @Test func `a lifetime that has become shorter is gone down to step by step`() {
        let now = MonotonicTime(nanoseconds: 1_000_000_000)
        var binding = BindingLifetime()
        binding.survived(.seconds(115), now: now)
        // A usual silence says nothing new.
        binding.survived(.seconds(110), now: now)
        var known = [binding.known]
        for _ in 0..<4 {
            binding.shortened(now: now)
            known.append(binding.known)
        }
        #expect(known == [115, 55, 28, 15, 15])
        var unknown = BindingLifetime()
        unknown.survived(.milliseconds(25_200), now: now)
        #expect(unknown.known == 0)
        unknown.shortened(now: now)
        #expect(unknown.known == 15)
    }

    @Test func `what was learned of a network is known again there, and one peer at a time measures`() {
        let now = MonotonicTime(nanoseconds: 1_000_000_000)
        let (home, away) = (HostileBench.place(1, port: 1).address, HostileBench.place(2, port: 1).address)
        let (one, other) = (AgentID(high: 1, low: 1), AgentID(high: 1, low: 2))
        var lifetimes = BindingLifetimes()
        lifetimes.enter(home)
        lifetimes[2].survived(.seconds(115), now: now)
        lifetimes.enter(away)
        #expect(lifetimes[2].known == 0)
        var claims = [one, other, one].map { lifetimes.claim(2, by: $0, now: now) }
        #expect(claims == [115, 0, 115])
        claims = [lifetimes.claim(2, by: other, now: now + .seconds(400)), lifetimes.claim(1, by: one, now: now)]
        #expect(claims == [115, 115])
        lifetimes.enter(home)
        #expect(lifetimes[2].known == 115)
    }
}
