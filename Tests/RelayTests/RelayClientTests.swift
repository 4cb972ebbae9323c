import Addressing
import STUN
import Sodium
import TestSupport
import Testing
import Timing

@testable import Relay

@Suite struct RelayClientTests {
    let source = Endpoint(.v4(IPv4Address(203, 0, 113, 5)), port: 40000)

    func client(_ bench: Bench, _ member: Member) -> RelayClient {
        RelayClient(
            relay: Bench.relayEndpoint, relayID: Bench.relayID, identity: member.identity,
            credential: bench.credential(of: member), now: bench.now)
    }

    func receive(
        _ client: inout RelayClient, _ bytes: [UInt8], _ bench: Bench, from: Endpoint = Bench.relayEndpoint
    ) -> RelayClient.Received {
        unsafe client.receive(bytes.span.bytes, from: from, now: bench.now, using: &bench.random)
    }

    /// Passes what the client sends to the relay and the answers back until nothing more comes; returns the events.
    func run(_ client: inout RelayClient, _ bench: Bench) -> [RelayClient.Event] {
        var events: [RelayClient.Event] = []
        while let step = client.poll(now: bench.now, using: &bench.random) {
            var next: RelayClient.Step? = step
            while let current = next {
                next = nil
                if let event = current.event { events.append(event) }
                guard let datagram = current.send, case .reply(let reply) = bench.receive(datagram, from: source),
                    case .control(let answer) = receive(&client, reply, bench)
                else { continue }
                next = answer
            }
        }
        return events
    }

    @Test func `it registers in two round trips and unwraps data of its epoch`() throws {
        let bench = try Bench(seed: 1)
        let (member, peer) = (try bench.member(), try bench.member())
        var client = client(bench, member)
        #expect(client.wrapHeader(peer.id) == nil)
        #expect(run(&client, bench) == [.up(observed: source)])
        #expect(client.isUp)
        #expect(client.observed == source)
        #expect(client.roundTrip == .zero)

        let peerEpoch = try bench.register(peer, at: bench.endpoint(9))
        var incoming = bench.data(to: member.id, epoch: peerEpoch, [1, 2, 3])
        #expect(bench.receive(&incoming, from: bench.endpoint(9)) == .forward(to: RelayLink(source)))
        let received = receive(&client, incoming, bench)
        #expect(received == .data(source: peer.id, payload: 20..<23))
        incoming[3] ^= 1
        let stale = receive(&client, incoming, bench)
        #expect(stale == .dropped(.staleEpoch))
        incoming[3] ^= 1
        let foreign = receive(&client, incoming, bench, from: bench.endpoint(66))
        #expect(foreign == .dropped(.foreignSource))

        let header = try #require(client.wrapHeader(peer.id))
        let outgoing = header.indices.map { header[$0] } + [9]
        #expect(bench.receive(outgoing, from: source) == .forward(to: RelayLink(bench.endpoint(9))))
        var written = [UInt8](repeating: 9, count: 21)
        let wasWritten = unsafe written.withUnsafeMutableBytes { unsafe client.writeHeader(to: peer.id, in: $0) }
        #expect(wasWritten)
        #expect(written == outgoing)
    }

    @Test func `unanswered hellos come after 250 ms and then slower, up to 5 s`() throws {
        let bench = try Bench(seed: 2)
        var client = client(bench, try bench.member())
        var gaps: [Double] = []
        var last = bench.now
        for _ in 0..<10 {
            bench.now = client.nextTimer
            gaps.append(bench.now.since(last).milliseconds)
            last = bench.now
            let step = client.poll(now: bench.now, using: &bench.random)
            #expect(step?.send?.count == Hello.size)
            #expect(step?.event == nil)
        }
        #expect(gaps[0] == 0)
        #expect(gaps[1] == 250)
        for (index, base) in [500, 1000, 2000, 4000, 5000, 5000, 5000, 5000].enumerated() {
            #expect(gaps[index + 2] >= Double(base) * 0.75 && gaps[index + 2] <= Double(base))
        }
    }

    @Test func `pings come within 25 s and say the round trip`() throws {
        let bench = try Bench(seed: 3)
        var client = client(bench, try bench.member())
        _ = run(&client, bench)
        for _ in 0..<20 {
            let wait = client.nextTimer.since(bench.now)
            #expect(wait >= .seconds(18) && wait <= .seconds(25))
            bench.now = client.nextTimer
            guard let ping = client.poll(now: bench.now, using: &bench.random)?.send,
                case .reply(let pong) = bench.receive(ping, from: source)
            else {
                Issue.record("no pong")
                return
            }
            bench.now = bench.now + .milliseconds(30)
            let received = receive(&client, pong, bench)
            #expect(received == .control(.init(event: .roundTrip(.milliseconds(30)))))
            let again = receive(&client, pong, bench)
            #expect(again == .dropped(.unsolicited))
        }
        #expect(bench.server.clientCount == 1)
    }

    @Test func `three pings without an answer mean a dead relay, 1.5 s after the first`() throws {
        let bench = try Bench(seed: 4)
        var client = client(bench, try bench.member())
        _ = run(&client, bench)
        bench.now = client.nextTimer
        let start = bench.now
        for _ in 0..<3 {
            let step = client.poll(now: bench.now, using: &bench.random)
            #expect(step?.send?.first == FrameType.ping.rawValue)
            bench.now = client.nextTimer
        }
        let step = client.poll(now: bench.now, using: &bench.random)
        #expect(bench.now.since(start) == .milliseconds(1500))
        #expect(step?.event == .down(.silent))
        #expect(step?.send?.first == FrameType.hello.rawValue)
        #expect(!client.isUp)
        // The relay is back: up again at the next hello.
        bench.now = client.nextTimer
        #expect(run(&client, bench) == [.up(observed: source)])
    }

    @Test func `a relay that forgot it is told apart at the first datagram, without going down`() throws {
        let (bench, restarted) = (try Bench(seed: 5), try Bench(seed: 5))
        let (member, peer) = (try bench.member(), try bench.member())
        var client = client(bench, member)
        _ = run(&client, bench)
        restarted.now = bench.now
        let header = try #require(client.wrapHeader(peer.id))
        guard case .reply(let error) = restarted.receive(header.indices.map { header[$0] }, from: source),
            case .control(let step) = receive(&client, error, restarted)
        else {
            Issue.record("no error")
            return
        }
        #expect(step.send?.first == FrameType.hello.rawValue)
        #expect(client.isUp)
        // Forged, the same error makes it ask once a second at most.
        guard case .reply(let challenge) = restarted.receive(step.send ?? [], from: source),
            case .control(let proof) = receive(&client, challenge, restarted),
            case .reply(let accepted) = restarted.receive(proof.send ?? [], from: source)
        else {
            Issue.record("no challenge")
            return
        }
        let up = receive(&client, accepted, restarted)
        #expect(up == .control(.init(event: .up(observed: source))))
        var forged = error
        forged[3] = client.epoch
        let second = receive(&client, forged, restarted)
        #expect(second == .dropped(.unsolicited))
    }

    @Test func `answers with a foreign nonce, id or phase are dropped`() throws {
        let bench = try Bench(seed: 6)
        let member = try bench.member()
        var client = client(bench, member)
        guard let hello = client.poll(now: bench.now, using: &bench.random)?.send,
            case .reply(let reply) = bench.receive(hello, from: source)
        else {
            Issue.record("no challenge")
            return
        }
        let challenge = try unsafe Challenge(reply.span.bytes)
        var wrongNonce = challenge
        wrongNonce.nonce ^= 1
        var wrongAgent = challenge
        wrongAgent.agent = AgentID(high: 1, low: 1)
        for forged in [wrongNonce.bytes, wrongAgent.bytes] {
            let received = receive(&client, forged, bench)
            #expect(received == .dropped(.unsolicited))
        }
        let early = Accepted(agent: member.id, epoch: 3, nonce: challenge.nonce, observed: source, lifetime: 60)
        let tooEarly = receive(&client, early.bytes, bench)
        #expect(tooEarly == .dropped(.unsolicited))
        guard case .control = receive(&client, reply, bench) else {
            Issue.record("challenge dropped")
            return
        }
        for forged in [
            Accepted(agent: member.id, epoch: 3, nonce: challenge.nonce ^ 1, observed: source, lifetime: 60),
            Accepted(agent: member.id, epoch: 0, nonce: challenge.nonce, observed: source, lifetime: 60),
            Accepted(agent: member.id, epoch: 3, nonce: challenge.nonce, observed: source, lifetime: 0),
        ] {
            let received = receive(&client, forged.bytes, bench)
            #expect(received == .dropped(.unsolicited))
        }
        #expect(!client.isUp)
        for type in [FrameType.hello, .proof, .ping] {
            var frame = Ping(agent: member.id, epoch: 1, nonce: 1).bytes
            frame[0] = type.rawValue
            let received = receive(&client, frame, bench)
            #expect(received == .dropped(.unexpectedType))
        }
    }

    @Test func `a refusal is reported and tried again, slowly`() throws {
        let bench = try Bench(seed: 7)
        let member = try bench.member()
        var client = RelayClient(
            relay: Bench.relayEndpoint, relayID: Bench.relayID, identity: member.identity,
            credential: bench.credential(of: member, life: 0), now: bench.now)
        #expect(run(&client, bench) == [.refused(.refused)])
        #expect(client.nextTimer.since(bench.now) > .seconds(3))
        // With a credential that holds it is up at once.
        client.register(credential: bench.credential(of: member), now: bench.now)
        #expect(run(&client, bench) == [.up(observed: source)])
    }

    @Test func `a renewed credential is registered under the same epoch, so that no packet is lost`() throws {
        let bench = try Bench(seed: 8)
        let (member, peer) = (try bench.member(), try bench.member())
        var client = RelayClient(
            relay: Bench.relayEndpoint, relayID: Bench.relayID, identity: member.identity,
            credential: bench.credential(of: member, life: 30), now: bench.now)
        try bench.register(peer, at: bench.endpoint(9))
        _ = run(&client, bench)
        let epoch = client.epoch
        bench.now = bench.now + .seconds(10)
        client.register(credential: bench.credential(of: member, life: 3600), now: bench.now)
        #expect(client.isUp)
        #expect(run(&client, bench) == [.up(observed: source)])
        #expect(client.epoch == epoch)
        bench.now = bench.now + .seconds(30)
        let ping = Ping(agent: member.id, epoch: epoch, nonce: 1)
        #expect(bench.receive(ping.bytes, from: source) == .reply(ping.pongBytes))
    }

    @Test func `unknown destinations and drains are news, under its epoch only`() throws {
        let bench = try Bench(seed: 9)
        let (member, absent) = (try bench.member(), try bench.member())
        var client = client(bench, member)
        _ = run(&client, bench)
        let header = try #require(client.wrapHeader(absent.id))
        guard case .reply(var error) = bench.receive(header.indices.map { header[$0] }, from: source) else {
            Issue.record("no error")
            return
        }
        let news = receive(&client, error, bench)
        #expect(news == .control(.init(event: .unknownDestination(absent.id))))
        var drain = bench.server.drain(within: 7)[0].datagram
        let draining = receive(&client, drain, bench)
        #expect(draining == .control(.init(event: .draining(within: .seconds(7)))))
        error[3] ^= 1
        drain[3] ^= 1
        let staleError = receive(&client, error, bench)
        let staleDrain = receive(&client, drain, bench)
        #expect(staleError == .dropped(.unsolicited))
        #expect(staleDrain == .dropped(.unsolicited))
    }

    @Test func `mutated answers neither trap nor register it at another epoch than the relay gave`() throws {
        let bench = try Bench(seed: 10)
        let member = try bench.member()
        var client = client(bench, member)
        var corpus: [[UInt8]] = [Ping(agent: member.id, epoch: 1, nonce: 3).pongBytes]
        for round in 0..<20_000 {
            bench.now = bench.now + .milliseconds(20)
            while let step = client.poll(now: bench.now, using: &bench.random) {
                guard let send = step.send, case .reply(let reply) = bench.receive(send, from: source) else { continue }
                if corpus.count < 32 { corpus.append(reply) } else { corpus[round % 32] = reply }
                // Only now and then does the relay's answer arrive unchanged.
                if round % 7 == 0, case .control(let answer) = receive(&client, reply, bench), let proof = answer.send,
                    case .reply(let accepted) = bench.receive(proof, from: source)
                {
                    corpus[0] = accepted
                    _ = receive(&client, accepted, bench)
                }
            }
            let sample = corpus[Int.random(in: corpus.indices, using: &bench.random)]
            _ = receive(&client, bench.random.mutated(sample), bench)
            bench.server.tick(now: bench.now, using: &bench.random)
        }
        #expect(client.drops[.unsolicited] > 1000)
        #expect(client.drops[.unknownVersion] > 10)
    }
}
