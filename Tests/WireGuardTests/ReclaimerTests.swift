import Glibc
import Synchronization
import Testing
import WireGuard

@Suite struct ReclaimerTests {
    /// Counts its own end.
    private final class Witness: Sendable {
        static let freed = Atomic<Int>(0)
        let ended: @Sendable () -> Void
        init(_ ended: @escaping @Sendable () -> Void) { self.ended = ended }
        deinit { ended() }
    }

    private final class Tally: Sendable {
        private let count = Atomic<Int>(0)
        var value: Int { count.load(ordering: .relaxed) }
        func add() { count.wrappingAdd(1, ordering: .relaxed) }
    }

    @Test func `without a turn going on, what is retired is freed at once`() {
        let (reclaimer, tally) = (Reclaimer(), Tally())
        reclaimer.retire(Witness { tally.add() })
        #expect(tally.value == 1 && !reclaimer.collect())
    }

    @Test func `what a turn may look at lives until the turn ends, and no longer`() {
        let (reclaimer, tally) = (Reclaimer(), Tally())
        reclaimer.inbound.begin()
        reclaimer.retire(Witness { tally.add() })
        #expect(reclaimer.collect() && tally.value == 0)
        reclaimer.inbound.end()
        // Another turn has nothing to do with it.
        reclaimer.inbound.begin()
        #expect(!reclaimer.collect() && tally.value == 1)
    }

    @Test func `both readers are waited for`() {
        let (reclaimer, tally) = (Reclaimer(), Tally())
        reclaimer.inbound.begin()
        reclaimer.outbound.begin()
        reclaimer.retire(Witness { tally.add() })
        reclaimer.outbound.end()
        #expect(reclaimer.collect() && tally.value == 0)
        reclaimer.inbound.end()
        #expect(!reclaimer.collect() && tally.value == 1)
    }

    private final class Number: Sendable {
        let value: Int
        let same: Int
        init(_ value: Int) {
            self.value = value
            same = value
        }
    }

    @Test func `a reader sees whole objects while another thread replaces them`() async throws {
        let reclaimer = Reclaimer()
        final class Place: Sendable { let number = Published<Number>(Number(0)) }
        let place = Place()
        let isOver = Tally()
        async let seen: Int = Task.detached {
            var (last, wrong) = (0, 0)
            while isOver.value == 0 {
                reclaimer.outbound.begin()
                let value = place.number.read { $0.value == $0.same ? $0.value : -1 } ?? -2
                reclaimer.outbound.end()
                if value < last { wrong += 1 }
                last = value
            }
            return wrong
        }.value
        for value in 1...20_000 {
            place.number.publish(Number(value), reclaimer)
            if value % 64 == 0 { reclaimer.collect() }
        }
        isOver.add()
        #expect(await seen == 0)
        #expect(!reclaimer.collect())
        #expect(place.number.value()?.value == 20_000)
    }
}
