import Addressing
import Synchronization
import WireGuard

/// What a packet thread has for the control thread.
struct Note {
    enum Kind: UInt8 {
        /// Packets of the pod go to the peer.
        case sent
        /// Authentic packets of the peer came in on the path.
        case heard
        /// The first packet of the session with this index has come in.
        case confirmed
        /// A packet of the pod that has no route, no session or no path; it is the payload.
        case packet
        /// A datagram that is not transport data: it came in on the path and is the payload.
        case datagram
    }

    var kind: Kind
    var peer = PeerID(index: -1, generation: 0)
    var path = Path.direct(socket: 0, Endpoint(.v4(.any), port: 0))
    var index: UInt32 = 0
    var wantsRekey = false
    fileprivate var offset = 0
    fileprivate var length = 0
    /// The payload's end in the ring, counted from the beginning of time.
    fileprivate var end = 0

    init(_ kind: Kind) { self.kind = kind }
}

/// A queue of notes with their payloads between two threads: one puts, one takes, neither waits or allocates.
///
/// What does not fit is refused: a flood of strangers' datagrams or of packets without a route costs no memory and blocks
/// nobody. Memory: 128 KiB of payloads and 40 KiB of notes, resident only once used.
@safe final class NoteRing: @unchecked Sendable {
    // Safe: a note is written before `head` says so and read before `tail` does; likewise payloads. `payloadEnd` is the
    // putting thread's own.
    private static let noteCount = 512
    private static let payloadSize = 128 << 10

    private let notes: UnsafeMutablePointer<Note>
    private let payloads: UnsafeMutableRawPointer
    private let head = Atomic<Int>(0)
    private let tail = Atomic<Int>(0)
    private let payloadTail = Atomic<Int>(0)
    private var payloadEnd = 0
    private let refusedCount = Atomic<UInt64>(0)

    init() {
        unsafe notes = .allocate(capacity: Self.noteCount)
        unsafe payloads = .allocate(byteCount: Self.payloadSize, alignment: 16)
    }

    deinit {
        unsafe notes.deallocate()
        unsafe payloads.deallocate()
    }

    /// How many notes were refused.
    var refused: UInt64 { refusedCount.load(ordering: .relaxed) }

    var isEmpty: Bool { head.load(ordering: .acquiring) == tail.load(ordering: .acquiring) }

    /// Puts a note without a payload; false when there is no room. The putting thread.
    func put(_ note: Note) -> Bool { unsafe put(note, payload: UnsafeRawBufferPointer(start: nil, count: 0)) }

    /// Puts a note with a copy of `payload`; false when there is no room. The putting thread.
    func put(_ note: Note, payload: UnsafeRawBufferPointer) -> Bool {
        let position = head.load(ordering: .relaxed)
        guard position &- tail.load(ordering: .acquiring) < Self.noteCount, let start = room(payload.count) else {
            refusedCount.wrappingAdd(1, ordering: .relaxed)
            return false
        }
        var note = note
        note.offset = start & (Self.payloadSize - 1)
        note.length = payload.count
        note.end = start + note.length
        payloadEnd = note.end
        if let source = payload.baseAddress {
            unsafe (payloads + note.offset).copyMemory(from: source, byteCount: payload.count)
        }
        unsafe (notes + (position & (Self.noteCount - 1))).initialize(to: note)
        head.store(position &+ 1, ordering: .releasing)
        return true
    }

    /// Where `count` bytes in a row are free, counted from the beginning of time.
    private func room(_ count: Int) -> Int? {
        guard count <= Self.payloadSize / 2 else { return nil }
        // Eight bytes more keep all payloads aligned, and the copy of one never touches the next.
        var start = (payloadEnd + 15) & ~15
        let offset = start & (Self.payloadSize - 1)
        if offset + count > Self.payloadSize { start += Self.payloadSize - offset }
        return start + count - payloadTail.load(ordering: .acquiring) <= Self.payloadSize ? start : nil
    }

    /// Lends the oldest note and its payload, which may be changed, and takes it out; false when there is none. The taking
    /// thread.
    func take(_ body: (Note, UnsafeMutableRawBufferPointer) -> Void) -> Bool {
        let position = tail.load(ordering: .relaxed)
        guard position != head.load(ordering: .acquiring) else { return false }
        let note = unsafe notes[position & (Self.noteCount - 1)]
        unsafe body(note, UnsafeMutableRawBufferPointer(start: payloads + note.offset, count: note.length))
        payloadTail.store(note.end, ordering: .releasing)
        tail.store(position &+ 1, ordering: .releasing)
        return true
    }
}
