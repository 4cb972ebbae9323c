import Addressing
import Linux
import Synchronization
import Testing
import Timing

@testable import Tunnel

@Suite struct StreamGateTests {
    final class Sent: Sendable {
        let messages = Mutex<[(bytes: [UInt8], relay: UInt8)]>([])
        var all: [(bytes: [UInt8], relay: UInt8)] { messages.withLock { $0 } }
    }

    private func gate(_ sent: Sent = Sent()) throws -> StreamGate {
        try StreamGate { bytes, relay in sent.messages.withLock { $0.append((bytes, relay)) } }
    }

    private func frames(_ message: StreamMessage) -> [[UInt8]] {
        var frames: [[UInt8]] = []
        while let frame = unsafe message.next() { frames.append(unsafe Array(frame)) }
        return frames
    }

    private func receive(_ bytes: [UInt8], relay: UInt8, at gate: StreamGate) {
        unsafe bytes.withUnsafeBytes { unsafe gate.receive($0, relay: relay) }
    }

    @Test func `what goes out is gathered, and comes in at the other end as the same frames`() throws {
        let sent = Sent()
        let (here, there) = (try gate(sent), try gate())
        var run = StreamRun()
        let wanted = (0..<100).map { [UInt8](repeating: UInt8($0), count: $0 * 13 + 1) }
        for frame in wanted { unsafe frame.withUnsafeBytes { unsafe run.add($0, relay: 3, to: here) } }
        run.flush(to: here)
        run.flush(to: here)
        let messages = sent.all
        #expect(messages.count == 2)
        #expect(messages.allSatisfy { $0.relay == 3 && $0.bytes.count <= StreamGate.messageSize })
        for message in messages { receive(message.bytes, relay: message.relay, at: there) }
        let taken = there.take()
        #expect(taken.map(\.relay) == [3, 3])
        #expect(taken.flatMap(frames) == wanted)
        #expect(there.take().isEmpty)
    }

    @Test func `frames for another relay are another message, in the order in which they were sealed`() throws {
        let sent = Sent()
        let gate = try gate(sent)
        var run = StreamRun()
        for (relay, byte) in [(0, 1), (0, 2), (1, 3), (0, 4)] as [(UInt8, UInt8)] {
            let frame = [byte]
            unsafe frame.withUnsafeBytes { unsafe run.add($0, relay: relay, to: gate) }
        }
        run.flush(to: gate)
        #expect(sent.all.map(\.relay) == [0, 1, 0])
        #expect(sent.all.map(\.bytes) == [[0, 1, 1, 0, 1, 2], [0, 1, 3], [0, 1, 4]])
    }

    @Test func `it can be waited for as long as something is there, and drops what is too much`() throws {
        let gate = try gate()
        let epoll = try Epoll()
        try epoll.add(gate.event.raw, .read, token: 7)
        #expect(try epoll.wait(timeout: .zero).isEmpty)
        let message = [UInt8](repeating: 0, count: 60_000)
        for _ in 0..<80 { receive(message, relay: 0, at: gate) }
        #expect(try epoll.wait(timeout: .zero).map(\.token) == [7])
        #expect(gate.dropped == 80 - UInt64(StreamGate.limit / 60_000))
        #expect(gate.take().count == StreamGate.limit / 60_000)
        #expect(try epoll.wait(timeout: .zero).isEmpty)
        receive(message, relay: 0, at: gate)
        #expect(gate.take().count == 1)
    }

    @Test func `what is no sequence of frames ends a message and traps nothing`() throws {
        let gate = try gate()
        for bytes in [[], [0], [0, 0], [0, 1], [0, 2, 1], [0xff, 0xff, 1]] as [[UInt8]] {
            receive(bytes, relay: 0, at: gate)
            #expect(gate.take().flatMap(frames).isEmpty, "\(bytes)")
        }
        receive([0, 1, 9, 0, 0, 0, 1, 8], relay: 0, at: gate)
        #expect(gate.take().flatMap(frames) == [[9]])
        var random = SystemRandomNumberGenerator()
        for _ in 0..<2000 {
            let bytes = (0..<Int.random(in: 0...200, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random) & (Bool.random(using: &random) ? 3 : 255)
            }
            receive(bytes, relay: 0, at: gate)
            for message in gate.take() { for frame in frames(message) { #expect(!frame.isEmpty) } }
        }
    }
}
