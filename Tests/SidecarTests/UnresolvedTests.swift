import Addressing
import Testing
import Timing

@testable import Sidecar

@Suite struct UnresolvedTests {
    let start = MonotonicTime.zero + .seconds(10)

    private func add(_ number: Int, to unresolved: inout Unresolved, now: MonotonicTime) -> Unresolved.Verdict {
        unsafe [UInt8(truncatingIfNeeded: number)].withUnsafeBytes {
            unsafe unresolved.add($0, to: Fixture.address(number), now: now)
        }
    }

    @Test func `the first packet asks, the others wait, and all are given back in order`() {
        var unresolved = Unresolved(now: start)
        let verdicts = (0..<3).map { _ in add(7, to: &unresolved, now: start) }
        #expect(verdicts == [.lookUp, .waiting, .waiting])
        #expect(unresolved.take(Fixture.address(7)) == [[7], [7], [7]])
        #expect(unresolved.take(Fixture.address(7)).isEmpty)
    }

    @Test func `nobody's address is refused for three seconds`() {
        var unresolved = Unresolved(now: start)
        _ = add(7, to: &unresolved, now: start)
        #expect(unresolved.fail(Fixture.address(7), now: start) == [[7]])
        #expect(add(7, to: &unresolved, now: start + .milliseconds(2999)) == .nobody)
        #expect(add(7, to: &unresolved, now: start + .seconds(3)) == .lookUp)
    }

    @Test func `no more than 32 packets are kept for an address, and 256 in all`() {
        var unresolved = Unresolved(now: start)
        for _ in 0..<100 { _ = add(1, to: &unresolved, now: start) }
        for number in 2..<20 { for _ in 0..<32 { _ = add(number, to: &unresolved, now: start) } }
        let kept = (1..<20).map { unresolved.take(Fixture.address($0)).count }
        #expect(kept.max() == Unresolved.packetsPerAddress)
        #expect(kept.reduce(0, +) == Unresolved.packetLimit)
        #expect(unresolved.dropped == UInt64(100 + 18 * 32 - 256))
    }

    @Test func `an application that tries every address begins lookups at a limited rate`() {
        var unresolved = Unresolved(now: start)
        var lookups = 0
        for number in 0..<5000 {
            let now = start + .milliseconds(UInt64(number))
            if add(number, to: &unresolved, now: now) == .lookUp {
                lookups += 1
                // The hub answers at once.
                _ = unresolved.fail(Fixture.address(number), now: now)
            }
        }
        #expect(lookups <= 128 + 5 * 32)
        #expect(lookups >= 128)
    }

    @Test func `packets without an answer are dropped after three seconds`() {
        var unresolved = Unresolved(now: start)
        _ = add(1, to: &unresolved, now: start)
        _ = add(2, to: &unresolved, now: start + .seconds(4))
        #expect(unresolved.take(Fixture.address(1)).isEmpty)
        #expect(unresolved.dropped == 1)
    }
}
