import Glibc
import Linux
import Synchronization
import Tun

/// Carries packets from one TUN to another as two tunnel ends would: split into single packets, coalesced again.
final class TunPump: Sendable {
    struct Counts: Sendable {
        var frames = 0
        var superFrames = 0
        var packets = 0
        var writes = 0
        var refused = 0
        var faults = 0
    }

    private let isStopped = Atomic(false)
    private let totals = Mutex(Counts())

    /// Runs until `stop`, on the calling thread.
    func run(from source: TunBox, to target: TunBox, offloads: TunOffloads) {
        var counts = Counts()
        var coalescer = SegmentCoalescer(offloads: offloads)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: TunDevice.frameBufferSize, alignment: 64)
        let arena = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 18, alignment: 64)
        defer {
            unsafe buffer.deallocate()
            unsafe arena.deallocate()
        }
        var used = 0
        while !isStopped.load(ordering: .relaxed) {
            let length = unsafe source.device.read(into: buffer)
            if length <= 0 || used > 1 << 16 || coalescer.isFull {
                let flushed = coalescer.flush(to: target.device)
                counts.writes += flushed.written
                counts.refused += flushed.refused
                used = 0
            }
            if length <= 0 {
                if length < 0 { break }
                _ = waitReadable(source.device.raw, milliseconds: 20)
                continue
            }
            counts.frames += 1
            do {
                var splitter = try unsafe SegmentSplitter(buffer, length: length)
                if splitter.packetsLeft > 1 { counts.superFrames += 1 }
                while true {
                    let space = unsafe UnsafeMutableRawBufferPointer(rebasing: arena[used...])
                    guard let count = unsafe splitter.next(into: space) else { break }
                    let packet = unsafe UnsafeMutableRawBufferPointer(rebasing: arena[used..<(used + count)])
                    if unsafe !coalescer.add(packet) {
                        counts.writes += coalescer.flush(to: target.device).written
                        _ = unsafe coalescer.add(packet)
                    }
                    used += (count + 15) & ~15
                    counts.packets += 1
                }
            } catch { counts.faults += 1 }
        }
        let result = counts
        totals.withLock { $0 = result }
    }

    func stop() { isStopped.store(true, ordering: .relaxed) }

    var counts: Counts { totals.withLock { $0 } }
}

/// Two namespaces whose TUNs are joined by a pump in each direction.
///
/// ```
///   left: warren-test0 10.9.0.1 fd09::1  <== pumps ==>  right: warren-test0 10.9.0.2 fd09::2
/// ```
func withJoinedTuns(
    offloads wanted: TunOffloads, _ body: (_ left: TestNetwork, _ right: TestNetwork, _ granted: TunOffloads) throws -> Void
) throws -> (forth: TunPump.Counts, back: TunPump.Counts) {
    let left = try TestNetwork()
    let right = try TestNetwork()
    let one = try left.makeTun("warren-test0", addresses: ["10.9.0.1/24", "fd09::1/64"])
    let two = try right.makeTun("warren-test0", addresses: ["10.9.0.2/24", "fd09::2/64"])
    let granted = one.device.enableOffloads(wanted)
    _ = two.device.enableOffloads(wanted)
    let forth = TunPump()
    let back = TunPump()
    let first = try Thread(named: "warren-forth") { forth.run(from: one, to: two, offloads: granted) }
    let second = try Thread(named: "warren-back") { back.run(from: two, to: one, offloads: granted) }
    let outcome = Result { try body(left, right, granted) }
    forth.stop()
    back.stop()
    first.join()
    second.join()
    try outcome.get()
    return (forth.counts, back.counts)
}
