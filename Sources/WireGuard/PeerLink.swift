package import Addressing
import Synchronization
package import Timing

/// What a peer's packets are sealed with and where they go: one immutable value, so that a packet thread sees both change
/// at once.
package final class Outlet: Sendable {
    let keypair: Keypair
    let path: Path
    /// The largest inner packet that the path carries, in bytes.
    let limit: Int

    init(keypair: Keypair, path: Path, limit: Int) {
        self.keypair = keypair
        self.path = path
        self.limit = limit
    }
}

/// A path that a peer has moved to.
final class RoamedPath: Sendable {
    let path: Path

    init(_ path: Path) { self.path = path }
}

/// What the threads that move packets and the one that knows the peer share of it: the outlet one way, and the other way
/// when packets went and came, from which its timers follow (`Timers`).
///
/// Safe from any thread. Times are in nanoseconds of the monotonic clock, 0 for none.
package final class PeerLink: Sendable {
    package let id: PeerID
    /// Nil without a session or a path.
    let outlet = Published<Outlet>()
    /// Where the peer was heard from last, until the outlet has it: the answer to a packet must not take the old path, by
    /// which it would undo the peer's move.
    let roamed = Published<RoamedPath>()

    private let lastSent = Atomic<UInt64>(0)
    private let lastReceived = Atomic<UInt64>(0)
    private let lastDataReceived = Atomic<UInt64>(0)
    private let firstUnanswered = Atomic<UInt64>(0)
    private let firstUnreplied = Atomic<UInt64>(0)
    /// By the packet thread of each direction alone, which then needs no locked instruction: one of those waits until all that
    /// the packet's sealing wrote has left the store buffer.
    private let sealedByteCount = Atomic<UInt64>(0)
    private let openedByteCount = Atomic<UInt64>(0)
    /// By the control thread, in handshakes and what it seals itself.
    private let sentByteCount = Atomic<UInt64>(0)
    private let receivedByteCount = Atomic<UInt64>(0)
    /// When a packet thread last told of packets, and of which path; each touched by that thread alone.
    private let toldSent = Atomic<UInt64>(0)
    private let toldHeard = Atomic<UInt64>(0)
    private let toldPath = Atomic<UInt64>(0)

    init(id: PeerID) { self.id = id }

    // MARK: By who moves packets

    /// An authenticated message was sent; `carriesData` is false for an empty one and for handshakes.
    ///
    /// - Parameter isShared: false on the one thread that seals packets and says so of each.
    @inline(__always)
    func noteSent(_ bytes: Int, carriesData: Bool, isShared: Bool = true, _ now: MonotonicTime) {
        if isShared {
            sentByteCount.wrappingAdd(UInt64(bytes), ordering: .relaxed)
        } else {
            Self.add(bytes, sealedByteCount)
        }
        Self.set(lastSent, now.nanoseconds)
        Self.set(firstUnreplied, 0)
        if carriesData, firstUnanswered.load(ordering: .relaxed) == 0 {
            firstUnanswered.store(now.nanoseconds, ordering: .relaxed)
        }
    }

    /// An authenticated message came in.
    ///
    /// - Parameter isShared: false on the one thread that opens packets and says so of each.
    @inline(__always)
    func noteReceived(_ bytes: Int, carriesData: Bool, isShared: Bool = true, _ now: MonotonicTime) {
        if isShared {
            receivedByteCount.wrappingAdd(UInt64(bytes), ordering: .relaxed)
        } else {
            Self.add(bytes, openedByteCount)
        }
        Self.set(lastReceived, now.nanoseconds)
        Self.set(firstUnanswered, 0)
        guard carriesData else { return }
        Self.set(lastDataReceived, now.nanoseconds)
        if firstUnreplied.load(ordering: .relaxed) == 0 { firstUnreplied.store(now.nanoseconds, ordering: .relaxed) }
    }

    @inline(__always)
    private static func add(_ bytes: Int, _ count: borrowing Atomic<UInt64>) {
        count.store(count.load(ordering: .relaxed) &+ UInt64(bytes), ordering: .relaxed)
    }

    /// Only writes what changes: the others' caches keep the line.
    @inline(__always)
    private static func set(_ value: borrowing Atomic<UInt64>, _ new: UInt64) {
        if value.load(ordering: .relaxed) != new { value.store(new, ordering: .relaxed) }
    }

    /// The path of a packet that goes now.
    @inline(__always)
    func path(_ outlet: Outlet) -> Path { roamed.read { $0.path } ?? outlet.path }

    /// An authentic packet came on `path`, to which the peer has moved. By who opens.
    @inline(__always)
    func follow(_ path: Path, _ reclaimer: Reclaimer) {
        guard let known = outlet.read({ self.path($0) }), known != path else { return }
        roamed.publish(RoamedPath(path), reclaimer)
    }

    // MARK: By who tells the control thread

    /// How often packets of one peer are told of, while they go on.
    package static let tellInterval = Interval.milliseconds(250)

    /// Whether the control thread is to be told that packets are sent. One thread, which tells at once.
    @inline(__always)
    package func tellsSent(_ now: MonotonicTime) -> Bool {
        guard now.nanoseconds &- toldSent.load(ordering: .relaxed) >= Self.tellInterval.nanoseconds else {
            return false
        }
        toldSent.store(now.nanoseconds, ordering: .relaxed)
        return true
    }

    /// The same for packets that came in on `path`: also when it is another than last time.
    @inline(__always)
    package func tellsHeard(on path: Path, _ now: MonotonicTime) -> Bool {
        let tag = path.tag
        guard
            toldPath.load(ordering: .relaxed) != tag
                || now.nanoseconds &- toldHeard.load(ordering: .relaxed) >= Self.tellInterval.nanoseconds
        else { return false }
        toldPath.store(tag, ordering: .relaxed)
        toldHeard.store(now.nanoseconds, ordering: .relaxed)
        return true
    }

    // MARK: By who keeps the timers

    var sentAt: MonotonicTime { MonotonicTime(nanoseconds: lastSent.load(ordering: .relaxed)) }
    var receivedAt: MonotonicTime { MonotonicTime(nanoseconds: lastReceived.load(ordering: .relaxed)) }
    var dataReceivedAt: MonotonicTime { MonotonicTime(nanoseconds: lastDataReceived.load(ordering: .relaxed)) }
    /// When the first data was sent that nothing has come back for.
    var unansweredSince: MonotonicTime? { Self.time(firstUnanswered) }
    /// When the first data came that nothing was sent back for.
    var unrepliedSince: MonotonicTime? { Self.time(firstUnreplied) }
    /// Bytes of all authenticated messages, as datagrams.
    var sentBytes: UInt64 { sealedByteCount.load(ordering: .relaxed) &+ sentByteCount.load(ordering: .relaxed) }
    var receivedBytes: UInt64 { openedByteCount.load(ordering: .relaxed) &+ receivedByteCount.load(ordering: .relaxed) }

    func forgetUnanswered() { firstUnanswered.store(0, ordering: .relaxed) }

    /// What is to be replied to counts from `time` on; nil for nothing.
    func setUnreplied(since time: MonotonicTime?) {
        firstUnreplied.store(time?.nanoseconds ?? 0, ordering: .relaxed)
    }

    private static func time(_ value: borrowing Atomic<UInt64>) -> MonotonicTime? {
        let nanoseconds = value.load(ordering: .relaxed)
        return nanoseconds == 0 ? nil : MonotonicTime(nanoseconds: nanoseconds)
    }
}

extension Path {
    /// A number that differs for paths that differ, as good as always.
    fileprivate var tag: UInt64 {
        let value: (UInt64, UInt64, UInt64) =
            switch self {
            case .direct(let socket, let endpoint):
                switch endpoint.address {
                case .v4(let v4): (UInt64(v4.value), 4, UInt64(endpoint.port) << 8 | UInt64(socket))
                case .v6(let v6): (v6.high, v6.low, UInt64(endpoint.port) << 8 | UInt64(socket))
                }
            case .relayed(let relay, let agent): (agent.high, agent.low, 1 << 32 | UInt64(relay))
            }
        var hash = value.0 &* 0x9e37_79b9_7f4a_7c15
        hash = (hash ^ hash &>> 29 ^ value.1) &* 0xbf58_476d_1ce4_e5b9
        return (hash ^ hash &>> 32 ^ value.2) &* 0x94d0_49bb_1331_11eb | 1
    }
}

/// A peer's link without counting references: for packet threads, within the turn in which they were given it.
@safe package struct PeerReference: Equatable {
    // Safe: what it refers to is kept by the routes or retired (`Reclaimer`), so it lives until the turn ends.
    private let reference: Unmanaged<PeerLink>

    init(_ link: PeerLink) { unsafe reference = Unmanaged.passUnretained(link) }

    @inline(__always)
    package func with<Result>(_ body: (PeerLink) -> Result) -> Result {
        unsafe reference._withUnsafeGuaranteedRef(body)
    }

    package var id: PeerID { with { $0.id } }

    package static func == (left: Self, right: Self) -> Bool {
        unsafe left.reference.toOpaque() == right.reference.toOpaque()
    }
}
