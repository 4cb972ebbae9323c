import Addressing
import STUN
import Sodium
import TestSupport
import Testing
import Timing

@testable import Relay

@Suite struct ReflectionTests {
    @Test(arguments: [1, 2] as [UInt64])
    func `over 100,000 hostile datagrams no address is sent more than came from it`(seed: UInt64) throws {
        let bench = try Bench(seed: seed)
        let members = try (0..<4).map { _ in try bench.member() }
        let sources = (0..<64).map { bench.endpoint(UInt8($0 / 4), UInt16(40000 + $0 % 4)) }
        var received: [Endpoint: Int] = [:]
        var sent: [Endpoint: Int] = [:]
        var corpus = Self.corpus(members, bench)
        var (replies, forwards) = (0, 0)
        for _ in 0..<100_000 {
            bench.now = bench.now + .microseconds(UInt64.random(in: 1...2000, using: &bench.random))
            let source = sources[Int.random(in: sources.indices, using: &bench.random)]
            let sample = corpus[Int.random(in: corpus.indices, using: &bench.random)]
            var datagram =
                switch Int.random(in: 0..<8, using: &bench.random) {
                case 0: bench.random.bytes(Int.random(in: 0...120, using: &bench.random))
                case 1, 2: sample
                default: bench.random.mutated(sample)
                }
            // Half of the mutations keep what the first check looks at.
            if datagram.count > 1, sample[0] >= 0xc0, Bool.random(using: &bench.random) {
                (datagram[0], datagram[1]) = (sample[0], sample[1])
            }
            let size = datagram.count
            received[source, default: 0] += size
            let isProven = bench.server.table.slot(at: RelayLink(source)) != nil
            switch bench.receive(&datagram, from: source) {
            case .forward(let target):
                forwards += 1
                #expect(isProven && bench.server.table.slot(at: target) != nil)
                #expect(datagram.count == size)
            case .reply(let reply):
                replies += 1
                sent[source, default: 0] += reply.count
                #expect(reply.count <= size)
                #expect(sent[source, default: 0] <= received[source, default: 0])
                // A challenge becomes, now and then, a proof that the corpus keeps.
                if reply[0] == FrameType.challenge.rawValue, Int.random(in: 0..<50, using: &bench.random) == 0 {
                    let challenge = try unsafe Challenge(reply.span.bytes)
                    for member in members where member.id == challenge.agent {
                        let proof = bench.proof(member, challenge).bytes
                        received[source, default: 0] += proof.count
                        if case .reply(let answer) = bench.receive(proof, from: source) {
                            sent[source, default: 0] += answer.count
                            #expect(answer.count <= proof.count)
                        }
                        corpus[Int.random(in: 12..<corpus.count, using: &bench.random)] = proof
                    }
                }
            case .drop: break
            }
            if UInt8.random(in: 0...255, using: &bench.random) == 0 {
                bench.server.tick(now: bench.now, using: &bench.random)
                try #require(bench.server.table.isConsistent)
            }
        }
        // The run reached what it is about.
        #expect(replies > 10_000)
        #expect(forwards > 10)
        #expect(bench.server.counters.registrations > 10)
        for reason in [
            DropReason.empty, .truncated, .unknownType, .unknownVersion, .unexpectedType, .wireGuard, .foreign, .stun,
            .foreignCookie, .notRegistered, .unknownDestination, .staleEpoch,
        ] {
            #expect(bench.server.counters[reason] > 0, "\(reason)")
        }
    }

    private static func corpus(_ members: [Member], _ bench: Bench) -> [[UInt8]] {
        let transaction = TransactionID(high: 1, low: 2)
        var padded = MessageBuilder(.request, transaction: transaction)
        padded.append(.software, Array(repeating: 0x20, count: 20))
        var unknown = MessageBuilder(.request, transaction: transaction)
        unknown.append(AttributeType(rawValue: 0x7777), [1, 2, 3])
        let observed = bench.endpoint(1)
        let cookie = AddressCookie(issued: bench.now, high: 3, low: 4)
        let id = members[0].id
        var corpus = [
            padded.bytes, unknown.bytes, MessageBuilder(.request, transaction: transaction).bytes,
            MessageBuilder(.success, transaction: transaction).bytes, [1, 0, 0, 0] + bench.random.bytes(144),
            Challenge(agent: id, nonce: 1, cookie: cookie, observed: observed).bytes,
            Accepted(agent: id, epoch: 1, nonce: 1, observed: observed, lifetime: 60).bytes,
            RelayErrorFrame(code: .notRegistered, epoch: 1, agent: id, nonce: 1).bytes,
            Ping(agent: id, epoch: 1, nonce: 1).pongBytes, Drain(agent: id, epoch: 1, seconds: 1).bytes,
            bench.data(to: AgentID(high: 9, low: 9), epoch: 1, [1, 2]), [0xd5, 1, 0, 0] + bench.random.bytes(30),
        ]
        for member in members {
            corpus.append(Hello(agent: member.id, nonce: 1).bytes)
            for epoch in 1...8 as ClosedRange<UInt8> {
                // Near where this seed's epochs begin, so that some fit.
                let epoch = UInt8(truncatingIfNeeded: Int(bench.server.lastEpoch) % 255 + Int(epoch))
                corpus.append(bench.data(to: member.id, epoch: epoch, bench.random.bytes(40)))
                corpus.append(Ping(agent: member.id, epoch: epoch, nonce: 7).bytes)
            }
        }
        return corpus
    }
}

extension Interval {
    static func microseconds(_ count: UInt64) -> Interval { .nanoseconds(count * 1000) }
}
