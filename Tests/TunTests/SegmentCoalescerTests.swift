import TestSupport
import Testing
import Tun

@Suite struct SegmentCoalescerTests {
    private func header(_ frame: [UInt8]) -> VirtioNetHeader {
        unsafe frame.withUnsafeBytes { unsafe VirtioNetHeader($0) } ?? VirtioNetHeader()
    }

    @Test(arguments: [false, true])
    func `contiguous TCP segments become one super-packet`(isIPv6: Bool) {
        var random = SeededRandom(seed: 9)
        let payload = random.bytes(2900)
        var flow = TestFlow(isIPv6: isIPv6, options: [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8])
        let original = flow
        let frames = coalesce([
            flow.packet(Array(payload[0..<1000])), flow.packet(Array(payload[1000..<2000])),
            flow.packet(Array(payload[2000...]), flags: 0x18),
        ])
        #expect(frames.count == 1)
        var expected = superFrame(original, payload: payload, segmentSize: 1000, flags: 0x18)
        // The checksum field holds the folded pseudo-header.
        let packet = Array(frames[0][10...])
        let transport = isIPv6 ? 40 : 20
        let pseudo = (isIPv6 ? packet[8..<40] : packet[12..<20]) + [0, 6] + big(UInt16(packet.count - transport))
        expected.replaceSubrange((26 + transport)..<(28 + transport), with: big(~naiveChecksum(Array(pseudo))))
        #expect(frames[0] == expected)
    }

    @Test(arguments: [false, true])
    func `datagrams of one size become one super-packet, the shorter ends it`(isIPv6: Bool) {
        var flow = TestFlow(isIPv6: isIPv6, isTCP: false)
        let sizes = [500, 500, 499, 500, 500]
        let frames = coalesce(sizes.map { flow.packet([UInt8](repeating: 3, count: $0)) })
        #expect(frames.map { header($0).segmentation } == [5, 5])
        #expect(frames.map { header($0).segmentSize } == [500, 500])
        #expect(frames.map { $0.count - 10 - flow.headerLength } == [1499, 1000])
    }

    /// Two packets, the second changed: they must stay two.
    @Test func `what differs is not joined`() {
        func frames(_ flow: TestFlow = TestFlow(), flags: UInt8 = 0x10, _ change: (inout TestFlow) -> Void) -> Int {
            var flow = flow
            let first = flow.packet([UInt8](repeating: 1, count: 100))
            change(&flow)
            return coalesce([first, flow.packet([UInt8](repeating: 2, count: 100), flags: flags)]).count
        }
        #expect(frames { _ in } == 1)
        #expect(frames(flags: 0x18) { _ in } == 1)
        for flags: UInt8 in [0x11, 0x12, 0x14, 0x30, 0x50, 0x90, 0x00] { #expect(frames(flags: flags) { _ in } == 2) }
        #expect(frames { $0.sequence += 1 } == 2)
        #expect(frames { $0.sequence -= 1 } == 2)
        #expect(frames { $0.acknowledgement += 1 } == 2)
        #expect(frames { $0.window += 1 } == 2)
        #expect(frames { $0.hopLimit -= 1 } == 2)
        #expect(frames { $0.trafficClass = 3 } == 2)
        #expect(frames { $0.isAtomic = false } == 2)
        #expect(frames { $0.sourcePort += 1 } == 2)
        #expect(frames { $0.destinationPort += 1 } == 2)
        #expect(frames { $0.options = [1, 1, 1, 1] } == 2)
        #expect(frames(TestFlow(options: [1, 1, 1, 1])) { $0.options = [1, 1, 1, 0] } == 2)
        #expect(frames(TestFlow(isIPv6: true)) { $0.hopLimit -= 1 } == 2)
        #expect(frames(TestFlow(isIPv6: true)) { $0.trafficClass = 1 } == 2)
        // An identification that does not count up matters only without don't-fragment.
        #expect(frames { $0.identification = 9 } == 1)
        #expect(frames(TestFlow(isAtomic: false)) { _ in } == 1)
        #expect(frames(TestFlow(isAtomic: false)) { $0.identification = 9 } == 2)
    }

    @Test func `flows interleave without being reordered`() {
        var first = TestFlow()
        var second = TestFlow(sourcePort: 40001)
        var packets: [[UInt8]] = []
        for _ in 0..<10 {
            packets.append(first.packet([UInt8](repeating: 1, count: 700)))
            packets.append(second.packet([UInt8](repeating: 2, count: 700)))
        }
        // A FIN ends the first flow's group and comes after it.
        packets.append(first.packet([], flags: 0x11))
        let frames = coalesce(packets)
        #expect(frames.map(\.count) == [7050, 7050, 50])
    }

    @Test func `packets that are not plain TCP or UDP keep their place among all`() {
        var flow = TestFlow(isTCP: false)
        let first = flow.packet([1, 2, 3])
        var fragment = flow.packet([4, 5, 6])
        fragment[6] = 0x20
        let icmp: [UInt8] = [0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 10, 9, 0, 1, 10, 9, 0, 2, 8, 0, 0, 0, 0, 0, 0, 0]
        let frames = coalesce([first, fragment, icmp, flow.packet([7, 8, 9])])
        #expect(frames.count == 4)
        #expect(Array(frames[1][10...]) == fragment)
        #expect(Array(frames[2][10...]) == icmp)
    }

    @Test func `only what the TUN takes is joined`() {
        for (isTCP, isIPv6, offload) in [
            (true, false, TunOffloads.tso4), (true, true, .tso6), (false, false, .uso4), (false, true, .uso6),
        ] {
            var flow = TestFlow(isIPv6: isIPv6, isTCP: isTCP)
            let packets = (0..<4).map { _ in flow.packet([UInt8](repeating: 1, count: 64)) }
            #expect(coalesce(packets, offloads: offload).count == 1)
            #expect(
                coalesce(packets, offloads: TunOffloads.all.subtracting(offload)).map { Array($0[10...]) } == packets)
        }
    }

    @Test func `a super-packet stays within 65,535 bytes and 64 segments`() {
        for (size, count) in [(1400, 100), (40, 100), (30000, 5)] {
            var flow = TestFlow()
            let packets = (0..<count).map { _ in flow.packet([UInt8](repeating: 1, count: size)) }
            let frames = coalesce(packets)
            #expect(frames.allSatisfy { $0.count - 10 <= 65535 && ($0.count - 50 + size - 1) / size <= 64 })
            #expect(frames.count < count)
        }
    }

    @Test func `a UDP datagram without a checksum or with another length is not joined`() {
        var flow = TestFlow(isTCP: false)
        var packets = (0..<2).map { _ in flow.packet([UInt8](repeating: 1, count: 64)) }
        packets[1].replaceSubrange(26..<28, with: [0, 0])
        #expect(coalesce(packets).map { Array($0[10...]) } == packets)
        packets = (0..<2).map { _ in flow.packet([UInt8](repeating: 1, count: 64)) }
        packets[1][25] -= 1
        #expect(coalesce(packets).map { Array($0[10...]) } == packets)
    }

    @Test func `padding behind a packet is left out`() {
        var flow = TestFlow()
        let packet = flow.packet([1, 2, 3])
        #expect(coalesce([packet + [0, 0, 0, 0, 0]]).map { Array($0[10...]) } == [packet])
    }

    @Test func `what is not IP is counted and not written`() {
        var coalescer = SegmentCoalescer(offloads: .all)
        var rubbish: [UInt8] = [0x12, 0x34]
        let taken = unsafe rubbish.withUnsafeMutableBytes { unsafe coalescer.add($0) }
        #expect(taken)
        #expect(coalescer.count == 0)
        #expect(coalescer.dropped == 1)
    }
}
