import Addressing
import NIOCore
import Relay
import Timing
import Transport

/// Datagrams of one sender to one receiver that lie one behind the other in a buffer, all of `segmentSize` bytes but the last,
/// which may be shorter.
struct Run: Sendable {
    var buffer: UInt32
    var offset: Int
    var length: Int
    let segmentSize: Int
    var segments: Int
    let destination: RelayLink
    let flow: Int
}

/// The runs that wait in the relay's UDP thread, and the buffers that they are in. One thread.
struct RunStore: ~Copyable {
    /// Collects the datagrams of one message into runs.
    struct Collector {
        let buffer: UInt32
        var offset = 0
        var run: Run?

        init(_ buffer: UInt32) { self.buffer = buffer }

        mutating func skip(_ count: Int) { offset += count }
    }

    /// 48 MB of address space, of which the kernel gives what is filled.
    private static let buffers = 768
    /// What a run weighs beside its bytes.
    private static let runWeight = 512
    /// Headers of UDP and IP.
    private static let segmentCost = 48
    private static let maximumSegments = 64
    /// Buffers that receiving always finds: else the kernel would choose what is lost.
    private static let reserve = 64
    /// Where fewer are free, short runs are packed, many to a buffer: what waits long must not take 64 KB for a datagram.
    private static let scarcity = buffers - 128
    private static let packingLimit = 16 << 10

    var pool: PacketPool
    var queue: FairQueue<Run>
    var sending = BorrowedSendBatch(messages: 64)
    /// The runs in `sending`, in order.
    private var sent: [Run] = []
    /// The buffer that short runs are packed into, and how far it is filled.
    private var packing: (buffer: UInt32, used: Int)?
    /// How many runs lie in each buffer, and holds.
    private var holds = [UInt16](repeating: 0, count: buffers)

    init() throws {
        pool = try PacketPool(buffers: Self.buffers, bufferSize: PooledReceiveBatch.bufferSize)
        var configuration = FairQueue<Run>.Configuration()
        configuration.quantum = 32 << 10
        queue = FairQueue(configuration)
    }

    /// Makes room for receiving, at the expense of the longest flow.
    mutating func makeRoom() {
        while pool.available < Self.reserve, !queue.isEmpty {
            queue.shorten()
            for dropped in queue.takeDropped() { release(dropped) }
        }
    }

    /// The next datagram of the message goes to `destination`.
    mutating func add(
        _ count: Int, to destination: RelayLink, flow: Int, _ collector: inout Collector, now: MonotonicTime
    ) {
        if var run = collector.run, run.destination == destination, run.flow == flow,
            run.offset + run.length == collector.offset, run.length == run.segments * run.segmentSize,
            count <= run.segmentSize, run.segments < Self.maximumSegments
        {
            run.length += count
            run.segments += 1
            collector.run = run
        } else {
            close(&collector, now: now)
            collector.run = Run(
                buffer: collector.buffer, offset: collector.offset, length: count, segmentSize: count, segments: 1,
                destination: destination, flow: flow)
        }
        collector.offset += count
    }

    /// Queues the run that was collected, if any.
    mutating func close(_ collector: inout Collector, now: MonotonicTime) {
        guard var run = collector.run else { return }
        collector.run = nil
        if run.length <= Self.packingLimit, pool.available < Self.scarcity { pack(&run) }
        holds[Int(run.buffer)] += 1
        let cost = run.length + run.segments * Self.segmentCost
        queue.append(run, cost: cost, weight: cost + Self.runWeight, flow: run.flow, now: now)
        for dropped in queue.takeDropped() { release(dropped) }
    }

    private mutating func pack(_ run: inout Run) {
        if let last = packing, last.used + run.length > PooledReceiveBatch.bufferSize {
            packing = nil
            release(last.buffer)
        }
        if packing == nil, let buffer = pool.take() {
            hold(buffer)
            packing = (buffer, 0)
        }
        guard let (buffer, used) = packing else { return }
        let memory = unsafe pool.bytes(buffer)
        let target = unsafe UnsafeMutableRawBufferPointer(rebasing: memory[used..<(used + run.length)])
        unsafe target.copyMemory(from: UnsafeRawBufferPointer(bytes(run)))
        packing = (buffer, used + run.length)
        run.buffer = buffer
        run.offset = used
    }

    /// Queues what a stream sends to a UDP endpoint, copied into a buffer without the lengths.
    mutating func add(_ parcel: RelaySwitch.Parcel, now: MonotonicTime) {
        guard let buffer = pool.take() else { return }
        hold(buffer)
        let memory = unsafe pool.bytes(buffer)
        var frames = parcel.frames
        var collector = Collector(buffer)
        let destination = RelayLink(parcel.destination)
        while let length = frames.readInteger(as: UInt16.self).map({ Int($0) }), length <= frames.readableBytes,
            collector.offset + length <= memory.count
        {
            let target = unsafe UnsafeMutableRawBufferPointer(
                rebasing: memory[collector.offset..<(collector.offset + length)])
            unsafe frames.readWithUnsafeReadableBytes { source in
                unsafe target.copyMemory(from: UnsafeRawBufferPointer(rebasing: source[..<length]))
                return length
            }
            add(length, to: destination, flow: parcel.flow, &collector, now: now)
        }
        close(&collector, now: now)
        release(buffer)
    }

    /// Keeps a buffer while its datagrams are looked at: runs of it may be dropped meanwhile.
    mutating func hold(_ buffer: UInt32) { holds[Int(buffer)] += 1 }

    /// Gives the buffer back once no run lies in it.
    mutating func release(_ buffer: UInt32) {
        holds[Int(buffer)] -= 1
        if holds[Int(buffer)] == 0 { pool.give(buffer) }
    }

    /// The next run in turn.
    mutating func popFirst(now: MonotonicTime) -> Run? {
        defer { for dropped in queue.takeDropped() { release(dropped) } }
        return queue.popFirst(now: now)
    }

    /// The run is done with.
    mutating func release(_ run: Run) { release(run.buffer) }

    func bytes(_ run: Run) -> UnsafeMutableRawBufferPointer {
        let memory = unsafe pool.bytes(run.buffer)
        return unsafe UnsafeMutableRawBufferPointer(rebasing: memory[run.offset..<(run.offset + run.length)])
    }

    /// Puts a run into the batch, which has room.
    mutating func send(_ run: Run) {
        unsafe sending.append(bytes(run), segmentSize: run.segmentSize, to: run.destination.endpoint)
        sent.append(run)
    }

    mutating func flush(through sockets: SocketTable) -> BorrowedSendBatch.Sent {
        guard !sending.isEmpty else { return .init() }
        let result = sending.flush(through: sockets)
        for run in sent.prefix(result.messages) { release(run) }
        sent.removeFirst(result.messages)
        return result
    }
}
