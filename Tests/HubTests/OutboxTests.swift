import Addressing
import Directory
import Synchronization
import Testing

@testable import Hub

@Suite struct OutboxTests {
    @Test func `a client that does not read is let go of`() {
        let closed = Counter()
        let outbox = Outbox { closed.value.add(1, ordering: .relaxed) }
        for number in 0..<UInt64(Outbox.limit) { outbox.push(.pong(number)) }
        #expect(closed.value.load(ordering: .relaxed) == 0)
        outbox.push(.pong(0))
        #expect(closed.value.load(ordering: .relaxed) == 1)
    }

    @Test func `signals leave room for answers`() async {
        let outbox = Outbox {}
        let signal = Message.signal(peer: .init(high: 0, low: 0), payload: [])
        for _ in 0..<Outbox.signalLimit { #expect(outbox.pushSignal(signal)) }
        #expect(!outbox.pushSignal(signal))
        outbox.push(.pong(1))
        outbox.finish()
        var taken = 0
        for await _ in outbox.messages {
            outbox.didTake()
            taken += 1
        }
        #expect(taken == Outbox.signalLimit + 1)
    }
}

private final class Counter: Sendable {
    let value = Atomic(0)
}
