import Addressing
import STUN
import Sodium
import Testing
import Timing

@testable import Relay

/// Streams beside datagrams: one agent, one registration, whichever way it came.
@Suite struct StreamRegistrationTests {
    @Test func `agents on streams and on datagrams reach each other`() throws {
        let bench = try Bench(seed: 1)
        let (first, second) = (try bench.member(), try bench.member())
        let firstEpoch = try bench.register(first, on: bench.stream(1))
        let secondEpoch = try bench.register(second, at: bench.endpoint(2))
        #expect(
            bench.receive(bench.data(to: second.id, epoch: firstEpoch, [1]), from: bench.stream(1))
                == .forward(to: RelayLink(bench.endpoint(2))))
        #expect(
            bench.receive(bench.data(to: first.id, epoch: secondEpoch, [1]), from: bench.endpoint(2))
                == .forward(to: bench.stream(1)))
    }

    @Test func `who registers anew replaces the old session at once, and its stream has ended`() throws {
        let bench = try Bench(seed: 2)
        let member = try bench.member()
        try bench.register(member, on: bench.stream(1))
        bench.now = bench.now + .milliseconds(1)
        try bench.register(member, on: bench.stream(2))
        #expect(bench.server.link(of: member.id) == bench.stream(2))
        #expect(bench.server.takeEndedStreams() == [1])
        bench.now = bench.now + .milliseconds(1)
        try bench.register(member, at: bench.endpoint(9))
        #expect(bench.server.link(of: member.id) == RelayLink(bench.endpoint(9)))
        #expect(bench.server.takeEndedStreams() == [2])
        bench.now = bench.now + .milliseconds(1)
        try bench.register(member, on: bench.stream(3))
        #expect(bench.server.link(of: member.id) == bench.stream(3))
        #expect(bench.server.takeEndedStreams() == [])
        #expect(bench.server.clientCount == 1 && bench.server.table.isConsistent)
    }

    @Test func `what the old stream still says has no effect`() throws {
        let bench = try Bench(seed: 3)
        let (member, other) = (try bench.member(), try bench.member())
        try bench.register(other, at: bench.endpoint(5))
        let epoch = try bench.register(member, on: bench.stream(1))
        bench.now = bench.now + .milliseconds(1)
        try bench.register(member, on: bench.stream(2))
        let late = bench.receive(bench.data(to: other.id, epoch: epoch, [1]), from: bench.stream(1))
        #expect(bench.errorCode(late) == .notRegistered)
        bench.server.disconnect(bench.stream(1))
        #expect(bench.server.link(of: member.id) == bench.stream(2))
        bench.server.disconnect(bench.stream(2))
        #expect(bench.server.link(of: member.id) == nil && bench.server.table.isConsistent)
    }

    @Test func `a proof of one transport is worth nothing on another`() throws {
        let bench = try Bench(seed: 4)
        let member = try bench.member()
        let endpoint = bench.endpoint(1, 50000)
        let onStream = bench.proof(member, try bench.challenge(member.id, on: bench.stream(1))).bytes
        let onDatagrams = bench.proof(member, try bench.challenge(member.id, at: endpoint)).bytes
        #expect(bench.stream(1).endpoint == endpoint)
        #expect(bench.errorCode(bench.receive(onStream, from: endpoint)) == .badCookie)
        #expect(bench.errorCode(bench.receive(onDatagrams, from: bench.stream(1))) == .badCookie)
        // The number of a stream counts, not where it comes from.
        let again = RelayLink(stream: 77, from: endpoint)
        #expect(bench.errorCode(bench.receive(onStream, from: again)) == .badCookie)
        #expect(bench.server.clientCount == 0)
    }

    @Test func `a stream whose registration expires has ended, and a renewal keeps it`() throws {
        let bench = try Bench(seed: 5)
        let member = try bench.member()
        let epoch = try bench.register(member, on: bench.stream(1))
        bench.now = bench.now + .seconds(30)
        #expect(try bench.register(member, on: bench.stream(1)) == epoch)
        #expect(bench.server.takeEndedStreams() == [])
        bench.now = bench.now + .seconds(61)
        bench.server.tick(now: bench.now, using: &bench.random)
        #expect(bench.server.takeEndedStreams() == [1] && bench.server.clientCount == 0)
    }

    @Test func `STUN is not answered on a stream`() throws {
        let bench = try Bench(seed: 6)
        var client = BindingClient(servers: [Bench.relayEndpoint], now: bench.now)
        guard case .send(let request, _)? = client.poll(now: bench.now, using: &bench.random).first else {
            Issue.record("no request")
            return
        }
        #expect(bench.receive(request, from: bench.stream(1)) == .drop(.foreign))
        guard case .reply = bench.receive(request, from: bench.endpoint(1)) else {
            Issue.record("no answer to a datagram")
            return
        }
    }

    @Test func `frames of a message come out one by one, and what does not add up is refused`() throws {
        func frames(_ message: [UInt8]) throws(FrameFault) -> [[UInt8]] {
            var copy = message
            var offset = 0
            var found: [[UInt8]] = []
            let result = unsafe copy.withUnsafeMutableBytes { bytes -> Result<Void, FrameFault> in
                do throws(FrameFault) {
                    while let frame = try unsafe StreamFrames.next(in: bytes, at: &offset) {
                        found.append(unsafe Array(frame))
                    }
                    return .success(())
                } catch { return .failure(error) }
            }
            try result.get()
            return found
        }
        #expect(try frames(StreamFrames.message([1, 2, 3]) + StreamFrames.message([4])) == [[1, 2, 3], [4]])
        #expect(try frames([]) == [])
        let largest = [UInt8](repeating: 7, count: StreamFrames.maximumFrame)
        #expect(try frames(StreamFrames.message(largest)) == [largest])
        for wrong: [UInt8] in [[0], [0, 0], [0, 1], [0, 2, 9], [0, 0, 1], StreamFrames.message(largest + [7])] {
            #expect(throws: FrameFault.truncated) { try frames(wrong) }
        }
    }
}
