import Synchronization
package import Timing

/// What has gone one way through the tunnel: packets of the pod's, not what carries them. Safe from any thread.
///
/// Packet threads count in integers of their own and add them here once a batch.
package final class PacketTally: Sendable {
    private let packetCount = Atomic<UInt64>(0)
    private let byteCount = Atomic<UInt64>(0)
    private let last = Atomic<UInt64>(0)

    package var packets: UInt64 { packetCount.load(ordering: .relaxed) }
    package var bytes: UInt64 { byteCount.load(ordering: .relaxed) }
    /// When the last packets went, within a turn of their thread; zero when there were none.
    package var lastMoved: MonotonicTime { MonotonicTime(nanoseconds: last.load(ordering: .relaxed)) }

    func add(_ batch: inout Batch) {
        guard batch.packets > 0 else { return }
        packetCount.wrappingAdd(batch.packets, ordering: .relaxed)
        byteCount.wrappingAdd(batch.bytes, ordering: .relaxed)
        last.store(batch.now.nanoseconds, ordering: .relaxed)
        batch = Batch()
    }

    /// What a thread has not added yet.
    struct Batch {
        fileprivate var packets: UInt64 = 0
        fileprivate var bytes: UInt64 = 0
        fileprivate var now = MonotonicTime.zero

        @inline(__always)
        mutating func count(_ length: Int, _ now: MonotonicTime) {
            packets &+= 1
            bytes &+= UInt64(truncatingIfNeeded: length)
            self.now = now
        }
    }
}
