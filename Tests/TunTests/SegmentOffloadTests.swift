import TestSupport
import Testing
import Tun

/// Properties of splitting and coalescing together. Each prints its seed when it fails.
@Suite struct SegmentOffloadTests {
    private func randomFlow(_ random: inout SeededRandom, port: UInt16) -> TestFlow {
        var flow = TestFlow(isIPv6: .random(using: &random), isTCP: .random(using: &random), sourcePort: port)
        flow.trafficClass = UInt8.random(in: 0...3, using: &random)
        flow.isAtomic = .random(using: &random)
        flow.identification = UInt16.random(in: 0...0xffff, using: &random)
        flow.sequence = Bool.random(using: &random) ? 0xffff_f000 : UInt32.random(in: 0...0xffff_ffff, using: &random)
        if flow.isTCP { flow.options = random.bytes(4 * Int.random(in: 0...10, using: &random)) }
        return flow
    }

    @Test(arguments: 0..<60 as Range<UInt64>)
    func `splitting what was coalesced gives the same packets of each flow in order`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        var flows = (0..<UInt16.random(in: 1...6, using: &random)).map { randomFlow(&random, port: 1000 + $0) }
        let sizes = flows.map { _ in Int.random(in: 1...1400, using: &random) }
        var packets: [[UInt8]] = []
        for _ in 0..<120 {
            let index = Int.random(in: 0..<flows.count, using: &random)
            for _ in 0..<Int.random(in: 1...8, using: &random) {
                let size =
                    Int.random(in: 0..<12, using: &random) == 0
                    ? Int.random(in: 0...1400, using: &random) : sizes[index]
                let flags =
                    ([0x10, 0x10, 0x10, 0x10, 0x10, 0x18, 0x11, 0x90] as [UInt8])
                    .randomElement(using: &random) ?? 0x10
                if Int.random(in: 0..<30, using: &random) == 0 { flows[index].sequence &+= 5 }
                if Int.random(in: 0..<30, using: &random) == 0 { flows[index].acknowledgement &+= 1 }
                packets.append(flows[index].packet(random.bytes(size), flags: flags))
            }
        }
        let frames = coalesce(packets)
        #expect(frames.count < packets.count)
        for mode in SplitMode.allCases {
            let result = try frames.flatMap { try split($0, mode).get() }
            #expect(result.count == packets.count)
            for port in 0..<flows.count {
                func ofFlow(_ packet: [UInt8]) -> Bool {
                    packet[(packet[0] >> 4 == 6 ? 40 : 20) + 1] == UInt8(truncatingIfNeeded: 1000 + port)
                }
                #expect(result.filter(ofFlow) == packets.filter(ofFlow))
            }
            #expect(result.allSatisfy(hasValidChecksums))
        }
    }

    @Test(arguments: 100..<140 as Range<UInt64>)
    func `coalescing what was split gives the same super-packet`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let flow = randomFlow(&random, port: 9)
        let size = Int.random(in: 1...1400, using: &random)
        let payload = random.bytes(Int.random(in: (size + 1)...min(size * 60, 65000), using: &random))
        let flags: UInt8 = Bool.random(using: &random) ? 0x18 : 0x10
        let whole = superFrame(flow, payload: payload, segmentSize: UInt16(size), flags: flags)
        for mode in SplitMode.allCases {
            let frames = coalesce(try split(whole, mode).get())
            #expect(frames.count == 1)
            // All but the checksum field, which had rubbish in it.
            let field = 10 + (flow.isIPv6 ? 40 : 20) + (flow.isTCP ? 16 : 6)
            #expect(frames[0][..<field] == whole[..<field])
            #expect(frames[0][(field + 2)...] == whole[(field + 2)...])
        }
    }

    /// Reads and writes beyond the frame would hit a guard page.
    @Test(arguments: 0..<8 as Range<UInt64>)
    func `no frame, however hostile, is read or written beyond its end`(seed: UInt64) {
        var random = SeededRandom(seed: 1000 + seed)
        var accepted = 0
        var faults: Set<PacketFault> = []
        for _ in 0..<1500 {
            let flow = randomFlow(&random, port: 7)
            var bytes = superFrame(
                flow, payload: random.bytes(Int.random(in: 0...300, using: &random)),
                segmentSize: UInt16.random(in: 1...120, using: &random))
            for _ in 0..<Int.random(in: 0...3, using: &random) {
                let value = ([0, 1, 5, 0x40, 0x45, 0x60, 0x7f, 0xff] as [UInt8]).randomElement(using: &random) ?? 0
                bytes[Int.random(in: 0..<min(bytes.count, 74), using: &random)] = value
            }
            switch Int.random(in: 0..<6, using: &random) {
            case 0: bytes.removeLast(Int.random(in: 0...bytes.count, using: &random))
            case 1: bytes = random.bytes(Int.random(in: 0...120, using: &random))
            default: break
            }
            let mode = SplitMode.allCases.randomElement(using: &random) ?? .inPlace
            let edge: GuardedBuffer.Edge = Bool.random(using: &random) ? .leading : .trailing
            switch split(bytes, mode, at: edge) {
            case .success(let packets):
                accepted += 1
                #expect(packets.allSatisfy { $0.count >= 20 && $0.count <= bytes.count })
            case .failure(let fault): faults.insert(fault)
            }
        }
        #expect(accepted > 100)
        #expect(faults.count >= 6)
    }

    @Test(arguments: 0..<8 as Range<UInt64>)
    func `no packet from a peer, however hostile, is read or written beyond its end`(seed: UInt64) {
        var random = SeededRandom(seed: 2000 + seed)
        for _ in 0..<200 {
            var flow = randomFlow(&random, port: 7)
            var packets: [[UInt8]] = []
            for _ in 0..<12 {
                var packet = flow.packet(random.bytes(40))
                if Int.random(in: 0..<3, using: &random) == 0 {
                    packet[Int.random(in: 0..<min(packet.count, 64), using: &random)] =
                        UInt8.random(in: 0...255, using: &random)
                }
                if Int.random(in: 0..<6, using: &random) == 0 {
                    packet.removeLast(Int.random(in: 0...packet.count, using: &random))
                }
                packets.append(packet)
            }
            for frame in coalesce(packets) {
                // What is written can be taken apart again, or is a single packet as it came.
                guard case .success(let parts) = split(frame) else {
                    Issue.record("a frame that does not parse")
                    continue
                }
                if parts.count == 1 { #expect(packets.contains { $0.starts(with: parts[0]) }) }
            }
        }
    }
}
