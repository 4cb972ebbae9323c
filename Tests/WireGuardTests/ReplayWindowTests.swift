import TestSupport
import Testing
import WireGuard

@Suite struct ReplayWindowTests {
    @Test func `each counter is accepted once`() {
        var window = ReplayWindow()
        for counter: UInt64 in [0, 1, 9, 5, 8192, 8191, 2] {
            let (first, second) = (window.accept(counter), window.accept(counter))
            #expect(first && !second, "counter \(counter)")
        }
    }

    @Test func `a counter 8,191 behind is accepted, one 8,192 behind is not`() {
        for greatest: UInt64 in [8192, 8193, 8255, 8256, 100_000, .max - 5] {
            var window = ReplayWindow()
            let accepted = [greatest, greatest - 8192, greatest - 8191].map { window.accept($0) }
            #expect(accepted == [true, false, true])
        }
    }

    @Test func `the edges of the number range work`() {
        var window = ReplayWindow()
        let accepted = [.max, .max - 1, 0, .max, .max - 8191, .max - 8192].map { window.accept($0) }
        #expect(accepted == [true, true, false, false, true, false])
    }

    @Test(arguments: 0..<40) func `it agrees with a set of all counters that were seen`(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var window = ReplayWindow()
        var seen: Set<UInt64> = []
        var greatest: UInt64 = 0
        var next = seed % 4 == 0 ? UInt64.random(in: 0...(.max - (1 << 40)), using: &random) : 0
        for step in 0..<4000 {
            switch UInt64.random(in: 0..<100, using: &random) {
            case 0..<60: next += 1
            case 60..<70: next += UInt64.random(in: 1...200, using: &random)
            case 70: next += UInt64.random(in: 1...20_000, using: &random)
            default: break
            }
            let counter =
                next
                - min(
                    next, [0, 0, .random(in: 0...300, using: &random), .random(in: 0...9000, using: &random)][step % 4])
            let expected = !seen.contains(counter) && (counter > greatest || greatest - counter < 8192)
            let accepted = window.accept(counter)
            guard accepted == expected else {
                Issue.record("seed \(seed) step \(step): counter \(counter), greatest \(greatest)")
                return
            }
            if accepted { seen.insert(counter) }
            greatest = accepted ? max(greatest, counter) : greatest
        }
    }
}
