import Addressing
import Timing

/// Queries that servers are asked for a client: each attempt under an id of its own, the first answer wins.
struct Forwarder {
    enum Verdict { case answered, foreign, late }

    private struct Forward {
        let client: Resolver.Client
        let query: Query
        let bytes: [UInt8]
        var asked: [Int] = []
        var attempts: [UInt32] = []
        var turns = 0
        var deadline: MonotonicTime
    }

    private struct Attempt {
        let forward: UInt32
        let upstream: Int
        let id: UInt16
        let sent: MonotonicTime
    }

    var upstreams: Upstreams
    private let random: @Sendable () -> UInt16
    private var forwards: [UInt32: Forward] = [:]
    private var attempts: [UInt32: Attempt] = [:]
    private var streams = 0
    private var lastNumber: UInt32 = 0
    /// In the order in which they are due, since all wait for the same time; those that are over are skipped.
    private var due: [(time: MonotonicTime, forward: UInt32)] = []
    private var firstDue = 0

    init(_ endpoints: [Endpoint], random: @escaping @Sendable () -> UInt16) {
        upstreams = Upstreams(endpoints)
        self.random = random
    }

    var nextDeadline: MonotonicTime { firstDue < due.count ? due[firstDue].time : .never }

    /// False when the client is told at once that it can't be done.
    mutating func forward(
        _ bytes: [UInt8], _ query: Query, _ client: Resolver.Client, now: MonotonicTime,
        _ actions: inout [Resolver.Action]
    ) -> Bool {
        let hasRoom =
            forwards.count < Resolver.forwardLimit && (!client.isStream || streams < Resolver.streamForwardLimit)
        let number = nextNumber()
        forwards[number] = Forward(client: client, query: query, bytes: bytes, deadline: now)
        if client.isStream { streams += 1 }
        guard hasRoom, turn(number, now: now, &actions) else {
            fail(number, &actions)
            return false
        }
        return true
    }

    mutating func received(
        _ bytes: [UInt8], attempt number: UInt32, now: MonotonicTime, _ actions: inout [Resolver.Action]
    ) -> Verdict {
        guard let attempt = attempts[number], let forward = forwards[attempt.forward] else { return .late }
        guard Query.isAnswer(bytes, to: forward.query.question, id: attempt.id) else { return .foreign }
        upstreams.answered(attempt.upstream, now: now)
        var answer = bytes
        answer.setID(forward.query.header.id)
        actions.append(.answer(forward.client, answer))
        end(attempt.forward, &actions)
        return .answered
    }

    /// Returns how many clients were told that there is no answer.
    mutating func failed(
        attempt number: UInt32, now: MonotonicTime, _ actions: inout [Resolver.Action]
    ) -> UInt64 {
        guard let attempt = attempts.removeValue(forKey: number) else { return 0 }
        actions.append(.close(attempt: number))
        upstreams.failed(attempt.upstream, sent: attempt.sent, now: now)
        forwards[attempt.forward]?.attempts.removeAll { $0 == number }
        guard let forward = forwards[attempt.forward], forward.attempts.isEmpty else { return 0 }
        if turn(attempt.forward, now: now, &actions) { return 0 }
        fail(attempt.forward, &actions)
        return 1
    }

    /// Returns how many clients were told that there is no answer.
    mutating func tick(now: MonotonicTime, _ actions: inout [Resolver.Action]) -> UInt64 {
        var failures: UInt64 = 0
        while firstDue < due.count, due[firstDue].time <= now {
            let (time, number) = due[firstDue]
            firstDue += 1
            guard let forward = forwards[number], forward.deadline == time else { continue }
            for attempt in forward.attempts.compactMap({ attempts[$0] }) {
                upstreams.failed(attempt.upstream, sent: attempt.sent, now: now)
            }
            if !turn(number, now: now, &actions) {
                fail(number, &actions)
                failures += 1
            }
        }
        if firstDue > 1024 || firstDue == due.count {
            due.removeFirst(firstDue)
            firstDue = 0
        }
        return failures
    }

    /// Asks the next server, and keeps listening to those before; false when that leads nowhere.
    private mutating func turn(
        _ number: UInt32, now: MonotonicTime, _ actions: inout [Resolver.Action]
    ) -> Bool {
        guard var forward = forwards[number], forward.turns < Resolver.attemptLimit else { return false }
        let chosen = upstreams.choose(besides: forward.asked, now: now)
        guard !chosen.isEmpty else { return false }
        forward.turns += 1
        forward.deadline = now + Resolver.attemptTime
        due.append((forward.deadline, number))
        for upstream in chosen {
            let attempt = nextNumber()
            let id = random()
            attempts[attempt] = Attempt(forward: number, upstream: upstream, id: id, sent: now)
            forward.attempts.append(attempt)
            forward.asked.append(upstream)
            var bytes = forward.bytes
            bytes.setID(id)
            actions.append(
                .send(
                    attempt: attempt, to: upstreams.endpoint(upstream), bytes, overTCP: forward.client.isStream))
        }
        forwards[number] = forward
        return true
    }

    private mutating func fail(_ number: UInt32, _ actions: inout [Resolver.Action]) {
        guard let forward = forwards[number] else { return }
        let response = Response(code: .serverFailure)
        actions.append(.answer(forward.client, response.encoded(for: forward.query, limit: forward.query.udpLimit)))
        end(number, &actions)
    }

    private mutating func end(_ number: UInt32, _ actions: inout [Resolver.Action]) {
        guard let forward = forwards.removeValue(forKey: number) else { return }
        if forward.client.isStream { streams -= 1 }
        for attempt in forward.attempts where attempts.removeValue(forKey: attempt) != nil {
            actions.append(.close(attempt: attempt))
        }
    }

    private mutating func nextNumber() -> UInt32 {
        lastNumber = lastNumber &+ 1
        return lastNumber
    }
}

extension [UInt8] {
    fileprivate mutating func setID(_ id: UInt16) {
        self[0] = UInt8(id >> 8)
        self[1] = UInt8(id & 255)
    }
}
