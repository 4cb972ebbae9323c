import Glibc
import Linux
import TestSupport
import Testing
import Tun

/// `WARREN_BENCH=1 swift test -c release --filter Benchmarks`: nanoseconds a packet of the TUN half.
@Suite(.serialized, .enabled(if: unsafe getenv("WARREN_BENCH") != nil))
struct TunBenchmarks {
    private func cpuSeconds() -> Double {
        var time = timespec()
        unsafe clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }

    @Test(arguments: [64, 1420, 65536]) func `checksum`(size: Int) {
        var random = SeededRandom(seed: 1)
        let bytes = random.bytes(size)
        let rounds = 2_000_000_000 / 20 / max(64, size)
        var total: UInt64 = 0
        let start = cpuSeconds()
        unsafe bytes.withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            for _ in 0..<rounds { total &+= unsafe Checksum.sum(base, size, total & 1) }
        }
        let seconds = cpuSeconds() - start
        print("bench checksum \(size) B: \(Int(seconds / Double(rounds) * 1e9)) ns (\(total & 1))")
    }

    @Test(arguments: [false, true]) func `split and coalesce in memory`(isIPv6: Bool) throws {
        var random = SeededRandom(seed: 2)
        let flow = TestFlow(isIPv6: isIPv6, options: [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8])
        let source = superFrame(flow, payload: random.bytes(1348 * 47), segmentSize: 1348)
        var frame = source + [UInt8](repeating: 0, count: 64)
        var arena = [UInt8](repeating: 0, count: 1 << 17)
        var coalescer = SegmentCoalescer(offloads: .all)
        let rounds = 20000
        var packets = 0
        var splitting = 0.0
        var coalescing = 0.0
        for isInPlace in [true, false] {
            splitting = 0
            coalescing = 0
            packets = 0
            for _ in 0..<rounds {
                unsafe frame.withUnsafeMutableBytes { frame in
                    unsafe frame.copyBytes(from: source)
                    unsafe arena.withUnsafeMutableBytes { arena in
                        let start = cpuSeconds()
                        var used = 0
                        do {
                            var splitter = try unsafe SegmentSplitter(frame, length: source.count)
                            if isInPlace {
                                while let packet = unsafe splitter.next(paddingLimit: 1420) {
                                    packets += packet.count > 0 ? 1 : 0
                                }
                            } else {
                                while let count = unsafe splitter.next(into: .init(rebasing: arena[used...])) {
                                    used += count
                                    packets += 1
                                }
                            }
                        } catch {}
                        let middle = cpuSeconds()
                        splitting += middle - start
                        guard !isInPlace else { return }
                        let size = 1348 + flow.headerLength
                        for offset in stride(from: 0, to: used, by: size) {
                            _ = unsafe coalescer.add(.init(rebasing: arena[offset..<(offset + size)]))
                        }
                        for index in 0..<coalescer.count { _ = unsafe coalescer.vectors(index) }
                        coalescer.reset()
                        coalescing += cpuSeconds() - middle
                    }
                }
            }
            func nanoseconds(_ seconds: Double) -> Int { Int(seconds / Double(packets) * 1e9) }
            print(
                "bench \(isIPv6 ? "IPv6" : "IPv4") split \(isInPlace ? "in place" : "copied"): \(nanoseconds(splitting)) ns/packet"
                    + (isInPlace ? "" : ", coalesce: \(nanoseconds(coalescing)) ns/packet"))
        }
    }

    /// Packets to an address that is not the namespace's: dropped at the entry of the kernel's IP layer.
    @Test(arguments: [64, 1392], [false, true]) func `TUN writes`(size: Int, joined: Bool) throws {
        let network = try TestNetwork()
        let tun = try network.makeTun("warren-test0", addresses: ["10.9.0.77/24"], mtu: 1420)
        let granted = tun.device.enableOffloads()
        var flow = TestFlow(isTCP: false)
        flow.identification = 0
        let packet = flow.packet([UInt8](repeating: 3, count: size))
        var memory = [UInt8](repeating: 0, count: 44 * packet.count)
        var coalescer = SegmentCoalescer(offloads: joined ? granted : [])
        var refused = 0
        var packets = 0
        let start = cpuSeconds()
        unsafe memory.withUnsafeMutableBytes { memory in
            while cpuSeconds() - start < 1 {
                for offset in stride(from: 0, to: memory.count, by: packet.count) {
                    let bytes = unsafe UnsafeMutableRawBufferPointer(rebasing: memory[offset..<(offset + packet.count)])
                    unsafe bytes.copyBytes(from: packet)
                    if unsafe !coalescer.add(bytes) {
                        refused += coalescer.flush(to: tun.device).refused
                        _ = unsafe coalescer.add(bytes)
                    }
                    packets += 1
                }
                refused += coalescer.flush(to: tun.device).refused
            }
        }
        let seconds = cpuSeconds() - start
        print(
            "bench TUN write \(packet.count) B \(joined ? "USO" : "plain"): \(Int(Double(packets) / seconds / 1000)) kpps, "
                + "\(Int(seconds / Double(packets) * 1e9)) ns/packet")
        #expect(refused == 0)
    }

    @Test(arguments: [TunOffloads.all, []]) func `a TCP stream through two TUNs`(offloads: TunOffloads) throws {
        let seconds = try ContinuousClock().measure {
            try TunTrafficTests().`a TCP stream of 50 MB arrives unchanged`(isIPv6: false, offloads: offloads)
        }
        print("bench 50 MB TCP through split and coalesce, offloads \(offloads): \(seconds)")
    }
}
