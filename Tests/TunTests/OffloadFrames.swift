import CLinux
import Tun

/// How segments are taken from a `SegmentSplitter`.
enum SplitMode: CaseIterable { case inPlace, padded, copied }

/// A frame as the kernel would hand it over: a TCP or UDP super-packet, from the flow's header and a long payload.
func superFrame(_ flow: TestFlow, payload: [UInt8], segmentSize: UInt16, flags: UInt8 = 0x10) -> [UInt8] {
    var flow = flow
    var packet = flow.packet(payload, flags: flags)
    let transport = flow.isIPv6 ? 40 : 20
    // The kernel's partial checksum; what is there must not matter.
    packet[transport + (flow.isTCP ? 16 : 6)] ^= 0x5a
    let header = VirtioNetHeader(
        flags: VirtioNetHeader.needsChecksum,
        segmentation: flow.isTCP
            ? flow.isIPv6 ? VirtioNetHeader.segmentationTCPv6 : VirtioNetHeader.segmentationTCPv4
            : VirtioNetHeader.segmentationUDP,
        headerLength: UInt16(flow.headerLength), segmentSize: segmentSize, checksumStart: UInt16(transport),
        checksumOffset: flow.isTCP ? 16 : 6)
    return frame(header, packet)
}

func frame(_ header: VirtioNetHeader, _ packet: [UInt8]) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: VirtioNetHeader.size)
    unsafe bytes.withUnsafeMutableBytes { bytes in
        if let base = bytes.baseAddress { unsafe header.store(to: base) }
    }
    return bytes + packet
}

/// All packets of a frame, or why there are none. The frame lies next to a page that must not be touched.
func split(
    _ frame: [UInt8], _ mode: SplitMode = .inPlace, at edge: GuardedBuffer.Edge = .trailing
) -> Result<[[UInt8]], PacketFault> {
    let buffer = GuardedBuffer(frame.count + SegmentSplitter.paddingRoom, at: edge)
    unsafe buffer.bytes.copyBytes(from: frame)
    let scratch = GuardedBuffer(65536, at: .trailing)
    do {
        var splitter = try unsafe SegmentSplitter(buffer.bytes, length: frame.count)
        var packets: [[UInt8]] = []
        let expected = splitter.packetsLeft
        while true {
            let length = splitter.nextLength
            switch mode {
            case .inPlace, .padded:
                guard let packet = unsafe splitter.next(paddingLimit: mode == .padded ? 65535 : 0) else { break }
                let bytes = unsafe Array(packet)
                precondition(bytes.count == (mode == .padded ? min((length + 15) & ~15, max(65535, length)) : length))
                precondition(bytes[length...].allSatisfy { $0 == 0 })
                packets.append(Array(bytes.prefix(length)))
                continue
            case .copied:
                guard let count = unsafe splitter.next(into: scratch.bytes) else { break }
                precondition(count == length)
                packets.append(unsafe Array(scratch.bytes.prefix(count)))
                continue
            }
            break
        }
        precondition(packets.count == expected && splitter.nextLength == 0)
        return .success(packets)
    } catch {
        return .failure(error)
    }
}

/// The frames a coalescer writes for `packets`, flushed whenever it is full.
func coalesce(_ packets: [[UInt8]], offloads: TunOffloads = .all) -> [[UInt8]] {
    var coalescer = SegmentCoalescer(offloads: offloads)
    var frames: [[UInt8]] = []
    // Each packet in memory of its own, as in a receive batch.
    let stride = (packets.map(\.count).max() ?? 0) + 16
    let buffer = GuardedBuffer(max(1, stride * packets.count), at: .trailing)
    for (index, packet) in packets.enumerated() {
        let bytes = unsafe UnsafeMutableRawBufferPointer(
            rebasing: buffer.bytes[(index * stride)..<(index * stride + packet.count)])
        unsafe bytes.copyBytes(from: packet)
        if unsafe !coalescer.add(bytes) {
            frames += drain(&coalescer)
            precondition(unsafe coalescer.add(bytes))
        }
    }
    frames += drain(&coalescer)
    return frames
}

private func drain(_ coalescer: inout SegmentCoalescer) -> [[UInt8]] {
    var frames: [[UInt8]] = []
    for index in 0..<coalescer.count {
        frames.append(unsafe coalescer.vectors(index).flatMap { part in
            unsafe Array(UnsafeRawBufferPointer(start: part.iov_base, count: part.iov_len))
        })
    }
    coalescer.reset()
    return frames
}
