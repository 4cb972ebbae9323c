import Addressing
import Directory
import Glibc
import NIOCore
import RelayStream
import Sodium
import Synchronization
import Testing
import Timing
import Transport

@testable import Hub
@testable import Relay

/// A hundred real members at one relay whose way out is bounded, every tenth of them greedy.
@Suite(.timeLimit(.minutes(3)), .serialized) struct RelayFairnessTests {
    /// Jain's index of `shares`: 1 when all are equal, 1/n when one has all.
    static func fairness(_ shares: [Int]) -> Double {
        let values = shares.map(Double.init)
        let sum = values.reduce(0, +)
        return sum * sum / (Double(values.count) * values.reduce(0) { $0 + $1 * $1 })
    }

    /// Bytes that arrived, by sender.
    final class Tally: Sendable {
        private let counts = Mutex<[AgentID: Int]>([:])
        func add(_ bytes: Int, from agent: AgentID) { counts.withLock { $0[agent, default: 0] += bytes } }
        func snapshot() -> [AgentID: Int] { counts.withLock { $0 } }
    }

    /// Takes what comes to one UDP member on a thread of its own, until told to end.
    final class Receiver: @unchecked Sendable {
        // Safe: `member` is used by the thread alone once it runs.
        let id: AgentID
        private let member: DatagramMember
        private let tally: Tally
        private let isEnding = Atomic(false)

        init(_ member: DatagramMember, _ tally: Tally) {
            id = member.id
            self.member = member
            self.tally = tally
        }

        func stop() { isEnding.store(true, ordering: .relaxed) }

        func run() {
            guard var batch = try? ReceiveBatch() else { return }
            member.socket.enableReceiveOffload()
            while !isEnding.load(ordering: .relaxed) {
                guard batch.receive(from: member.socket) > 0 else {
                    var wait = pollfd(fd: member.socket.raw, events: Int16(POLLIN), revents: 0)
                    _ = unsafe poll(&wait, 1, 20)
                    continue
                }
                for index in 0..<batch.count {
                    guard var message = batch.message(index) else { continue }
                    while let frame = unsafe message.next() {
                        if unsafe frame[0] == FrameType.data.rawValue, let id = unsafe AgentID(frame[4..<20]) {
                            tally.add(frame.count, from: id)
                        }
                    }
                }
            }
        }
    }

    @Test func `each of a hundred on datagrams gets its share, though ten send ten times as much`() async throws {
        try await TestHub.with { hub in
            try await hub.servingRelay(changing: { $0.relayPace = 16_000_000 }) { _, relayPort in
                let tally = Tally()
                let receiver = try DatagramMember(hub, at: relayPort)
                try await receiver.register()
                var senders: [DatagramMember] = []
                for _ in 0..<100 {
                    let sender = try DatagramMember(hub, at: relayPort)
                    try await sender.register()
                    senders.append(sender)
                }
                let sink = Receiver(receiver, tally)
                let thread = Task.detached { sink.run() }
                // A share is 160 KB/s: each offers 1.5 times that, ten offer fifteen times.
                var sent = [Int](repeating: 0, count: 100)
                let start = MonotonicTime.now()
                var before: [AgentID: Int]?
                let payload = [UInt8](repeating: 1, count: 1180)
                while MonotonicTime.now().since(start) < .seconds(4) {
                    let elapsed = MonotonicTime.now().since(start).seconds
                    if before == nil, elapsed > 1 { before = tally.snapshot() }
                    for (index, sender) in senders.enumerated() {
                        let rate = index % 10 == 0 ? 2_400_000.0 : 240_000
                        while Double(sent[index]) < elapsed * rate {
                            for _ in 0..<8 { sender.send(to: sink.id, payload) }
                            sent[index] += 8 * 1200
                        }
                    }
                    try await Task.sleep(nanoseconds: 2_000_000)
                }
                let after = tally.snapshot()
                sink.stop()
                await thread.value
                let shares = senders.map { (after[$0.id] ?? 0) - (before?[$0.id] ?? 0) }
                let index = Self.fairness(shares)
                print(
                    "relay: Jain's index \(index) of 100 members on datagrams, ten of them greedy; "
                        + "\(shares.reduce(0, +) / 3) bytes/s of 16,000,000; least \(shares.min() ?? 0), most \(shares.max() ?? 0)"
                )
                #expect(index >= 0.95)
                #expect(shares.reduce(0, +) > 3 * 12_000_000)
            }
        }
    }

    @Test func `so do fifty on streams and fifty on datagrams together`() async throws {
        try await TestHub.with { hub in
            try await hub.servingRelay(changing: { $0.relayPace = 16_000_000 }) { port, relayPort in
                let tally = Tally()
                let receiver = try DatagramMember(hub, at: relayPort)
                try await receiver.register()
                let loop = HubLink.group.next()
                var (datagrams, streams) = ([DatagramMember](), [StreamMember]())
                for _ in 0..<50 {
                    let datagram = try DatagramMember(hub, at: relayPort)
                    try await datagram.register()
                    datagrams.append(datagram)
                    let stream = try StreamMember(hub)
                    try await stream.register(hub.connector(port), on: loop)
                    streams.append(stream)
                }
                let sink = Receiver(receiver, tally)
                let thread = Task.detached { sink.run() }
                var sent = [Int](repeating: 0, count: 100)
                let start = MonotonicTime.now()
                var before: [AgentID: Int]?
                let payload = [UInt8](repeating: 1, count: 1180)
                while MonotonicTime.now().since(start) < .seconds(4) {
                    let elapsed = MonotonicTime.now().since(start).seconds
                    if before == nil, elapsed > 1 { before = tally.snapshot() }
                    for index in 0..<100 {
                        let rate = index % 10 == 0 ? 2_400_000.0 : 240_000
                        while Double(sent[index]) < elapsed * rate {
                            if index < 50 {
                                for _ in 0..<8 { datagrams[index].send(to: sink.id, payload) }
                            } else {
                                let frame = streams[index - 50].frame(to: sink.id, payload)
                                let message = (0..<8).flatMap { _ in StreamFrames.message(frame) }
                                streams[index - 50].connection?.send(ByteBuffer(bytes: message))
                            }
                            sent[index] += 8 * 1200
                        }
                    }
                    try await Task.sleep(nanoseconds: 2_000_000)
                }
                let after = tally.snapshot()
                sink.stop()
                await thread.value
                let ids = datagrams.map(\.id) + streams.map(\.id)
                let shares = ids.map { (after[$0] ?? 0) - (before?[$0] ?? 0) }
                let index = Self.fairness(shares)
                print(
                    "relay: Jain's index \(index) of 50 members on streams and 50 on datagrams, ten of them greedy; "
                        + "\(shares.reduce(0, +) / 3) bytes/s of 16,000,000; least \(shares.min() ?? 0), most \(shares.max() ?? 0)"
                )
                #expect(index >= 0.95)
                #expect(shares.reduce(0, +) > 3 * 12_000_000)
            }
        }
    }

    @Test func `a slow stream shares what it takes between its senders, and control comes through`() async throws {
        try await TestHub.with { hub in
            try await hub.servingRelay { port, relayPort in
                let loop = HubLink.group.next()
                let slow = try StreamMember(hub)
                let line = try await TestSlowLine(to: port)
                try await slow.register(hub.connector(line.port), on: loop)
                var senders: [DatagramMember] = []
                for _ in 0..<10 {
                    let sender = try DatagramMember(hub, at: relayPort)
                    try await sender.register()
                    senders.append(sender)
                }
                // 4 MB a second get through. One sender offers 12 MB, nine others 600 KB each.
                let payload = [UInt8](repeating: 1, count: 1180)
                var before = 0
                for turn in 0..<750 {
                    for (index, sender) in senders.enumerated() {
                        for _ in 0..<(index == 0 ? 40 : 2) { sender.send(to: slow.id, payload) }
                    }
                    try await Task.sleep(nanoseconds: 4_000_000)
                    if turn == 250 { before = slow.inbox.count }
                }
                let arrived = slow.inbox[before...]
                var shares = senders.map { sender in arrived.count { $0.source == sender.id } }
                print("relay: a slow stream's frames of its ten senders: \(shares)")
                #expect(arrived.count > 100)
                let greedy = shares.removeFirst()
                // All ten could send more than their tenth, and there is no reason for one to get more.
                #expect(Double(greedy) <= 1.25 * Double(max(1, shares.sorted()[4])))
                #expect(slow.isUp)
                try await line.close()
            }
        }
    }
}
