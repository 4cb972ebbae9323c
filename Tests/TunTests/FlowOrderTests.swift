import TestSupport
import Testing

@testable import Tun

@Suite struct FlowOrderTests {
    private func order(_ packet: [UInt8]) -> FlowOrder {
        var packet = packet
        return unsafe packet.withUnsafeMutableBytes { unsafe FlowOrder($0) }
    }

    private func ping(isIPv6: Bool) -> [UInt8] {
        isIPv6
            ? [0x60, 0, 0, 0, 0, 8, 58, 64] + [UInt8](repeating: 1, count: 32) + [128, 0, 0, 0, 0, 1, 0, 1]
            : [0x45, 0, 0, 28, 0, 1, 0x40, 0, 64, 1, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2] + [8, 0, 0, 0, 0, 1, 0, 1]
    }

    @Test(arguments: [false, true], [false, true])
    func `packets of a flow are told from those of others`(isIPv6: Bool, isTCP: Bool) {
        var flow = TestFlow(isIPv6: isIPv6, isTCP: isTCP)
        var other = TestFlow(isIPv6: isIPv6, isTCP: isTCP, sourcePort: 40001)
        let large = order(flow.packet([UInt8](repeating: 1, count: 1200)))
        let short = order(flow.packet([1]))
        #expect(large == short)
        #expect(order(other.packet([1])) != short)
        #expect(!short.mayOvertake([large]))
        #expect(!short.mayOvertake([order(other.packet([2])), large]))
        #expect(short.mayOvertake([order(other.packet([3])), order(ping(isIPv6: isIPv6))]))
        #expect(short.mayOvertake([]))
    }

    @Test(arguments: [false, true])
    func `messages of ICMP go before everything`(isIPv6: Bool) {
        var flow = TestFlow(isIPv6: isIPv6)
        #expect(order(ping(isIPv6: isIPv6)) == .free)
        #expect(order(ping(isIPv6: isIPv6)).mayOvertake([order(flow.packet([1])), .unknown, .free]))
    }

    @Test func `what can't be told goes before nothing, and nothing before it`() {
        var fragment = TestFlow().first()
        fragment[6] = 0x20
        var icmpFragment = ping(isIPv6: false)
        icmpFragment[7] = 1
        for packet in [fragment, icmpFragment, [], [0x45], [UInt8](repeating: 0, count: 60)] {
            #expect(order(packet) == .unknown)
            #expect(!order(packet).mayOvertake([order(TestFlow().first())]))
        }
        #expect(!order(TestFlow().first()).mayOvertake([.unknown]))
    }

    @Test func `any bytes are read within their bounds`() {
        var random = SeededRandom(seed: 4)
        for length in 0..<120 {
            for _ in 0..<50 {
                var bytes = random.bytes(length)
                if length > 0 { bytes[0] = bytes[0] & 0x0f | (Bool.random(using: &random) ? 0x40 : 0x60) }
                let buffer = guarded(bytes)
                _ = unsafe FlowOrder(buffer.bytes)
            }
        }
    }

    // MARK: Behind the tunnel, where what came earlier is not opened yet

    private func mayOvertake(_ packet: [UInt8], after packets: [[UInt8]]) -> Bool {
        var coalescer = SegmentCoalescer(offloads: .all)
        var packet = packet
        for packet in packets {
            let buffer = guarded(packet)
            #expect(unsafe coalescer.add(buffer.bytes))
            coalescer.reset()
        }
        return unsafe packet.withUnsafeMutableBytes { unsafe coalescer.mayOvertake($0) }
    }

    @Test(arguments: [false, true])
    func `TCP goes on at the byte that was delivered last, and nowhere else`(isIPv6: Bool) {
        var flow = TestFlow(isIPv6: isIPv6)
        let first = flow.packet([UInt8](repeating: 1, count: 1000))
        let second = flow.packet([UInt8](repeating: 2, count: 1000))
        let third = flow.packet([3])
        #expect(!mayOvertake(third, after: []))
        #expect(!mayOvertake(third, after: [first]))
        #expect(mayOvertake(third, after: [first, second]))
        #expect(!mayOvertake(second, after: [first, second]))
        // An acknowledgement that carries nothing is where the flow is.
        #expect(mayOvertake(flow.packet([]), after: [first, second, third]))
        #expect(!mayOvertake(flow.packet([]), after: [first, second]))
        var other = TestFlow(isIPv6: isIPv6, sourcePort: 1)
        #expect(!mayOvertake(other.packet([1]), after: [first]))
    }

    @Test func `beginning and end of a connection count a byte each`() {
        var flow = TestFlow()
        let beginning = flow.packet([], flags: 0x02)
        #expect(mayOvertake(beginning, after: []))
        flow.sequence &+= 1
        #expect(mayOvertake(flow.packet([1]), after: [beginning]))
        let end = flow.packet([2], flags: 0x11)
        #expect(!mayOvertake(flow.packet([]), after: [end]))
        flow.sequence &+= 1
        #expect(mayOvertake(flow.packet([]), after: [end]))
    }

    @Test func `UDP and fragments stay where they are, ICMP does not`() {
        var flow = TestFlow(isTCP: false)
        #expect(!mayOvertake(flow.packet([1]), after: [flow.packet([2])]))
        var fragment = ping(isIPv6: false)
        fragment[7] = 1
        #expect(!mayOvertake(fragment, after: []))
        #expect(mayOvertake(ping(isIPv6: false), after: []) && mayOvertake(ping(isIPv6: true), after: []))
    }
}

extension TestFlow {
    fileprivate func first() -> [UInt8] {
        var flow = self
        return flow.packet([1, 2, 3])
    }
}

/// The bytes, right before memory that must not be touched.
private func guarded(_ bytes: [UInt8]) -> GuardedBuffer {
    let buffer = GuardedBuffer(bytes.count, at: .trailing)
    unsafe buffer.bytes.copyBytes(from: bytes)
    return buffer
}
