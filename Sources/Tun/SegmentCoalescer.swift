package import CLinux
package import Linux

/// Puts successive packets of one flow together again into TSO and USO super-packets, each written to the TUN with one
/// `writev` and without copying a payload: what GRO does in the kernel, and the inverse of `SegmentSplitter`.
///
/// Packets added stay in the caller's memory, and their first header may be rewritten there, until the next `reset` or
/// `flush`. Groups come out in the order in which their first packets came in, and a packet joins only the newest group of
/// its flow, so no flow is reordered. Packets that are not plain TCP or UDP keep their place among all others.
///
/// TCP joins when addresses, ports, acknowledgement, window, options, TTL, traffic class and flags are equal, the only flags
/// are ACK and PSH, and the sequence number continues (the kernel's `tcp_gro_receive`); PSH or a shorter payload ends the
/// group. UDP joins with payloads of one size, the last of which may be shorter, when both have a checksum. IPv4
/// identifications must count up, unless don't-fragment says that they have no meaning (RFC 6864).
///
/// Transport checksums of joined packets are not verified: they were authenticated by the tunnel, and the kernel is told
/// to fill them in (as kernel WireGuard, which marks its packets CHECKSUM_UNNECESSARY). Memory: 44 KiB, once. One thread.
@safe
package struct SegmentCoalescer: ~Copyable, @unchecked Sendable {
    /// Groups between two flushes, and packets in a group (UDP_MAX_SEGMENTS of older kernels).
    package static let maximumGroups = 32
    package static let maximumSegments = 64
    /// iovecs a group has: virtio header, first packet, further payloads.
    private static let vectors = maximumSegments + 1

    // Safe: three tables of a fixed size, freed in deinit; `count` and `segments` never pass the sizes above. Used by one
    // thread at a time, hence Sendable.
    private let keys: UnsafeMutablePointer<UInt64>
    private let groups: UnsafeMutablePointer<SegmentGroup>
    private let iovecs: UnsafeMutablePointer<iovec>
    private let headers: UnsafeMutableRawPointer
    private var positions = StreamPositions()

    /// Which super-packets the TUN takes: TSO4 and TSO6 for TCP, USO4 and USO6 for UDP.
    package var offloads: TunOffloads
    /// Groups waiting to be written.
    package private(set) var count = 0
    /// Bytes waiting to be written.
    package private(set) var pendingBytes = 0
    /// Packets that did not parse as IP and were not added.
    package private(set) var dropped: UInt64 = 0

    package init(offloads: TunOffloads) {
        self.offloads = offloads
        unsafe keys = .allocate(capacity: Self.maximumGroups)
        unsafe groups = .allocate(capacity: Self.maximumGroups)
        unsafe iovecs = .allocate(capacity: Self.maximumGroups * Self.vectors)
        unsafe headers = .allocate(byteCount: Self.maximumGroups * 16, alignment: 16)
        unsafe keys.initialize(repeating: 0, count: Self.maximumGroups)
        unsafe groups.initialize(repeating: SegmentGroup(), count: Self.maximumGroups)
        unsafe iovecs.initialize(repeating: iovec(), count: Self.maximumGroups * Self.vectors)
        unsafe headers.initializeMemory(as: UInt8.self, repeating: 0, count: Self.maximumGroups * 16)
    }

    deinit {
        unsafe keys.deallocate()
        unsafe groups.deallocate()
        unsafe iovecs.deallocate()
        unsafe headers.deallocate()
    }

    /// Whether `add` needs a flush before it takes another packet.
    package var isFull: Bool { count == Self.maximumGroups }

    /// Takes one IP packet; bytes behind its IP length (WireGuard's padding) are left out. False, and nothing done, when
    /// `isFull`. A packet that is not IP is counted and dropped.
    package mutating func add(_ packet: UnsafeMutableRawBufferPointer) -> Bool {
        guard count < Self.maximumGroups else { return false }
        guard let base = packet.baseAddress else { return true }
        let whole = unsafe PacketBytes(base, count: packet.count)
        let length: Int
        do { length = try PacketLayout.ipLength(whole) } catch {
            dropped &+= 1
            return true
        }
        let bytes = whole.prefix(length)
        guard let flow = Flow(bytes) else {
            unsafe keys.update(repeating: 0, count: count)
            append(SegmentGroup(bytes), bytes, key: 0)
            return true
        }
        var position = count
        while position > 0 {
            position &-= 1
            guard unsafe keys[position] == flow.key else { continue }
            if unsafe groups[position].accepts(bytes, flow) {
                join(position, bytes, flow)
                if flow.layout.isTCP { positions.note(flow.key, unsafe groups[position].nextSequence) }
                return true
            }
            // Nothing may join an older group than the one made now.
            unsafe keys[position] = 0
        }
        let group = SegmentGroup(bytes, flow)
        if flow.layout.isTCP { positions.note(flow.key, group.nextSequence) }
        append(group, bytes, key: offloads.contains(group.offload) && group.isOpen ? flow.key : 0)
        return true
    }

    /// Whether `packet` is still in its flow's order when it is added now, although other packets came before it that are yet
    /// to be added, and to be told apart: it is ICMP, begins a TCP connection, or continues one at the byte where the packets
    /// added so far have left it.
    package borrowing func mayOvertake(_ packet: UnsafeMutableRawBufferPointer) -> Bool {
        guard let base = packet.baseAddress else { return false }
        let whole = unsafe PacketBytes(base, count: packet.count)
        guard let length = try? PacketLayout.ipLength(whole) else { return false }
        let bytes = whole.prefix(length)
        if FlowOrder.isICMP(bytes) { return true }
        guard let flow = Flow(bytes), flow.layout.isTCP else { return false }
        if bytes.word16(flow.layout.transport &+ 12) & TCPFlags.synchronize != 0 { return true }
        return positions.sequence(flow.key) == bytes.word32(flow.layout.transport &+ 4)
    }

    /// Completes the header of group `index` and lends its iovecs, first the virtio header: one TUN write. Valid until
    /// `reset`.
    package borrowing func vectors(_ index: Int) -> UnsafeBufferPointer<iovec> {
        precondition(index < count)
        let header = unsafe headers + index &* 16
        unsafe groups[index].complete().store(to: header)
        let first = unsafe iovecs + index &* Self.vectors
        unsafe first.pointee = unsafe iovec(iov_base: header, iov_len: VirtioNetHeader.size)
        return unsafe UnsafeBufferPointer(start: first, count: groups[index].segments &+ 1)
    }

    /// Forgets all groups: their memory is the caller's again.
    package mutating func reset() {
        count = 0
        pendingBytes = 0
    }

    /// What became of the groups in a flush.
    package struct Flushed: Sendable {
        package var written = 0
        package var bytes = 0
        /// Writes that the kernel refused: their packets are lost.
        package var refused = 0
        /// Of the last refused write. EBADFD: the device is gone. EIO: it is down.
        package var error: Errno?
    }

    /// Writes all groups to `tun`, in order, and forgets them.
    @discardableResult
    package mutating func flush(to tun: borrowing TunDevice) -> Flushed { unsafe flush(to: tun) { _ in true } }

    /// Writes those groups to `tun` that `allows` lets pass, in order, and forgets all. It is shown the first packet of each
    /// group, which is of one flow with all others of it.
    ///
    /// When the kernel refuses a UDP super-packet as invalid (before Linux 6.2), UDP is no longer joined.
    @discardableResult
    @inline(__always)
    package mutating func flush(
        to tun: borrowing TunDevice, where allows: (UnsafeRawBufferPointer) -> Bool
    ) -> Flushed {
        var result = Flushed()
        var index = 0
        while index < count {
            let first = unsafe iovecs[index &* Self.vectors &+ 1]
            guard unsafe allows(UnsafeRawBufferPointer(start: first.iov_base, count: first.iov_len)) else {
                index &+= 1
                continue
            }
            let vectors = unsafe vectors(index)
            let written = unsafe tun.write(vectors)
            if written >= 0 {
                result.written &+= 1
                result.bytes &+= written &- VirtioNetHeader.size
            } else {
                result.refused &+= 1
                let errno = Errno(Int32(truncatingIfNeeded: -written))
                result.error = errno
                let offload = unsafe groups[index].offload
                if errno == .invalidArgument, unsafe groups[index].segments > 1, offload.isUDP {
                    offloads.remove(offload)
                }
            }
            index &+= 1
        }
        reset()
        return result
    }

    private mutating func append(_ group: SegmentGroup, _ bytes: PacketBytes, key: UInt64) {
        unsafe keys[count] = key
        unsafe groups[count] = group
        unsafe iovecs[count &* Self.vectors &+ 1] = unsafe iovec(iov_base: bytes.base, iov_len: bytes.count)
        count &+= 1
        pendingBytes &+= bytes.count
    }

    private mutating func join(_ index: Int, _ bytes: PacketBytes, _ flow: Flow) {
        let payload = flow.layout.payload
        let length = bytes.count &- payload
        let segments = unsafe groups[index].segments
        unsafe iovecs[index &* Self.vectors &+ 1 &+ segments] = unsafe iovec(
            iov_base: bytes.base + payload, iov_len: length)
        unsafe groups[index].join(bytes, flow)
        if unsafe groups[index].segments == Self.maximumSegments { unsafe groups[index].close() }
        if unsafe !groups[index].isOpen { unsafe keys[index] = 0 }
        pendingBytes &+= length
    }
}
