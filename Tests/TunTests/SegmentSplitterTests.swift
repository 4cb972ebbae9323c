import TestSupport
import Testing
import Tun

@Suite struct SegmentSplitterTests {
    @Test(arguments: [false, true], SplitMode.allCases)
    func `a TCP super-packet becomes complete segments`(isIPv6: Bool, mode: SplitMode) throws {
        var random = SeededRandom(seed: 4)
        let payload = random.bytes(3000)
        var flow = TestFlow(isIPv6: isIPv6, options: [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8], identification: 0xfffe)
        flow.sequence = 0xffff_fe00
        // CWR, ACK, PSH, FIN
        let packets = try split(superFrame(flow, payload: payload, segmentSize: 1368, flags: 0x99), mode).get()
        #expect(packets.count == 3)
        // CWR on the first only, PSH and FIN on the last only.
        #expect(packets[0] == flow.packet(Array(payload[0..<1368]), flags: 0x90))
        #expect(packets[1] == flow.packet(Array(payload[1368..<2736]), flags: 0x10))
        #expect(packets[2] == flow.packet(Array(payload[2736...]), flags: 0x19))
        #expect(packets.allSatisfy(hasValidChecksums))
    }

    @Test(arguments: [false, true], SplitMode.allCases)
    func `a UDP super-packet becomes complete datagrams`(isIPv6: Bool, mode: SplitMode) throws {
        var random = SeededRandom(seed: 5)
        let payload = random.bytes(2501)
        var flow = TestFlow(isIPv6: isIPv6, isTCP: false)
        let packets = try split(superFrame(flow, payload: payload, segmentSize: 1200), mode).get()
        #expect(packets.count == 3)
        #expect(packets[0] == flow.packet(Array(payload[0..<1200])))
        #expect(packets[1] == flow.packet(Array(payload[1200..<2400])))
        #expect(packets[2] == flow.packet(Array(payload[2400...])))
    }

    @Test(arguments: SplitMode.allCases)
    func `segments smaller than their headers come out whole`(mode: SplitMode) throws {
        var random = SeededRandom(seed: 6)
        let payload = random.bytes(101)
        var flow = TestFlow(isIPv6: true)
        let packets = try split(superFrame(flow, payload: payload, segmentSize: 3), mode).get()
        #expect(packets.count == 34)
        for (index, packet) in packets.enumerated() {
            #expect(packet == flow.packet(Array(payload[(index * 3)..<min(101, index * 3 + 3)])))
        }
    }

    @Test func `a super-packet without payload is one packet`() throws {
        var flow = TestFlow()
        #expect(try split(superFrame(flow, payload: [], segmentSize: 100)).get() == [flow.packet([])])
    }

    @Test func `a single packet's checksum is completed`() throws {
        var random = SeededRandom(seed: 7)
        for isTCP in [true, false] {
            for isIPv6 in [true, false] {
                var flow = TestFlow(isIPv6: isIPv6, isTCP: isTCP)
                let whole = flow.packet(random.bytes(333))
                let transport = isIPv6 ? 40 : 20
                var partial = whole
                let pseudo =
                    (isIPv6 ? whole[8..<40] : whole[12..<20]) + [0, isTCP ? 6 : 17]
                    + big(UInt16(whole.count - transport))
                let field = transport + (isTCP ? 16 : 6)
                partial.replaceSubrange(field..<(field + 2), with: big(~naiveChecksum(Array(pseudo))))
                let header = VirtioNetHeader(
                    flags: VirtioNetHeader.needsChecksum, checksumStart: UInt16(transport),
                    checksumOffset: isTCP ? 16 : 6)
                #expect(try split(frame(header, partial)).get() == [whole])
            }
        }
    }

    @Test func `a complete packet passes unchanged, without what is behind its IP length`() throws {
        var flow = TestFlow()
        let whole = flow.packet([1, 2, 3])
        #expect(try split(frame(VirtioNetHeader(), whole + [9, 9, 9])).get() == [whole])
    }

    @Test func `IPv4 options and IPv6 destination options are copied to each segment`() throws {
        var random = SeededRandom(seed: 8)
        let payload = random.bytes(2000)
        var plain = superFrame(TestFlow(), payload: payload, segmentSize: 1000)
        plain[10] = 0x46
        plain.replaceSubrange(12..<14, with: big(UInt16(plain.count - 10 + 4)))
        plain.insert(contentsOf: [1, 1, 1, 0], at: 30)
        let packets = try split(plain).get()
        #expect(packets.count == 2)
        #expect(packets.allSatisfy { $0.count == 1044 && $0[20..<24] == [1, 1, 1, 0] && hasValidChecksums($0) })

        var extended = superFrame(TestFlow(isIPv6: true), payload: payload, segmentSize: 1000)
        extended[16] = 60
        extended.replaceSubrange(14..<16, with: big(UInt16(extended.count - 50 + 8)))
        extended.insert(contentsOf: [6, 0, 1, 4, 0, 0, 0, 0], at: 50)
        let segments = try split(extended).get()
        #expect(segments.count == 2)
        for segment in segments {
            let pseudo = segment[8..<40] + [0, 6] + big(UInt16(segment.count - 48))
            #expect(naiveChecksum(Array(pseudo) + segment[48...]) == 0)
            #expect(segment[40..<48] == [6, 0, 1, 4, 0, 0, 0, 0])
        }
    }

    @Test func `what does not fit is left for another try`() throws {
        var bytes = superFrame(TestFlow(), payload: [UInt8](repeating: 5, count: 200), segmentSize: 100)
        let length = bytes.count
        bytes += [UInt8](repeating: 0, count: SegmentSplitter.paddingRoom)
        var small = [UInt8](repeating: 0, count: 139)
        var large = [UInt8](repeating: 0, count: 140)
        try unsafe bytes.withUnsafeMutableBytes { bytes in
            var splitter = try unsafe SegmentSplitter(bytes, length: length)
            let refused = unsafe small.withUnsafeMutableBytes { unsafe splitter.next(into: $0) }
            let taken = unsafe large.withUnsafeMutableBytes { unsafe splitter.next(into: $0) }
            #expect(refused == 0)
            #expect(taken == 140)
            #expect(splitter.packetsLeft == 1)
        }
    }

    /// Each is a good frame with one thing wrong.
    @Test func `what is wrong is dropped with its reason`() {
        let tcp = superFrame(TestFlow(), payload: [UInt8](repeating: 1, count: 300), segmentSize: 100)
        let tcp6 = superFrame(TestFlow(isIPv6: true), payload: [UInt8](repeating: 1, count: 300), segmentSize: 100)
        func fault(_ frame: [UInt8], _ change: (inout [UInt8]) -> Void) -> PacketFault? {
            var frame = frame
            change(&frame)
            if case .failure(let fault) = split(frame) { return fault }
            return nil
        }
        #expect(fault(tcp) { _ in } == nil)
        #expect(fault(tcp) { $0.removeLast($0.count - 9) } == .truncated)
        #expect(fault(tcp) { $0.removeLast($0.count - 29) } == .truncated)
        #expect(fault(tcp) { $0.removeLast() } == .truncated)
        #expect(fault(tcp) { $0.append(0) } == .lengthMismatch)
        #expect(fault(tcp) { $0[10] = 0x55 } == .notIP)
        #expect(fault(tcp) { $0[10] = 0x44 } == .notIP)
        #expect(fault(tcp) { $0[4] = 0 } == .zeroSegmentSize)
        #expect(fault(tcp) { $0[1] = 3 } == .unknownOffload)
        #expect(fault(tcp) { $0[1] = 4 } == .wrongProtocol)
        #expect(fault(tcp) { $0[1] = 5 } == .wrongProtocol)
        #expect(fault(tcp) { $0[19] = 17 } == .wrongProtocol)
        #expect(fault(tcp) { $0[19] = 1 } == .wrongProtocol)
        #expect(fault(tcp) { $0[16] = 0x20 } == .fragment)
        #expect(fault(tcp) { $0[17] = 1 } == .fragment)
        #expect(fault(tcp) { $0[42] = 0x40 } == .badTransportHeader)
        #expect(fault(tcp6) { $0[16] = 44 } == .fragment)
        #expect(fault(tcp6) { $0[16] = 43 } == .extensionHeader)
        #expect(
            fault(tcp6) {
                $0[16] = 60; $0[50] = 6; $0[51] = 255
            } == .truncated)
        // A header longer than the packet, and a checksum beyond it.
        let short = superFrame(TestFlow(), payload: [], segmentSize: 100)
        #expect(fault(short) { $0[42] = 0xf0 } == .badTransportHeader)
        #expect(
            fault(short) {
                $0[1] = 0; $0[6] = 39
            } == .checksumOutOfRange)
        #expect(
            fault(short) {
                $0[1] = 0; $0[9] = 255
            } == .checksumOutOfRange)
        #expect(
            fault(short) {
                $0[1] = 0; $0[6] = 0
            } == .checksumOutOfRange)
    }
}
