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

    @Test func `the ladder of lifetimes ends at the first step that does not hold twice`() {
        var lifetime = BindingLifetime()
        var asked: [UInt16] = []
        while let step = lifetime.nextStep {
            asked.append(step)
            if step <= 110 { lifetime.survived(step) } else { lifetime.lapsed(step) }
        }
        #expect(asked == [15, 28, 55, 110, 240, 240])
        #expect(lifetime.known == 110)
        #expect(BindingLifetime.spacing(110) == .seconds(105))
        #expect(BindingLifetime.spacing(0) < .seconds(28))
    }
}
