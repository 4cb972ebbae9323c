package import Addressing
import Sodium
import Synchronization
package import Timing

/// What moves packets between the threads that do: the device publishes routes, sessions and outlets here, and packet
/// threads seal and open with them, without locks and without counting references.
///
/// One thread seals data (`seal`) and one opens (`open`); both may be the same. Each calls within a turn of its reader
/// (`reclaimer`), and keeps nothing that it was given beyond the turn. What these calls can't do, they say: then the
/// packet is the device's, on the control thread.
package final class PacketPlane: Sendable {
    package let reclaimer = Reclaimer()
    let routes = Published<Routes>()
    let sessions: SessionTable
    /// What packet threads dropped, by reason.
    package let drops = SharedDropCounters()
    private let maximumPadded = Atomic<Int>(1420)
    private let isOpen = Atomic<Bool>(false)
    private let isFollowing = Atomic<Bool>(true)

    init() { sessions = SessionTable(reclaimer) }

    /// Inner packets are padded to a multiple of 16 bytes, but not beyond this.
    var mtu: Int {
        get { maximumPadded.load(ordering: .relaxed) }
        set { maximumPadded.store(newValue, ordering: .relaxed) }
    }

    /// Whether there is a private key; without one nothing moves.
    var hasKey: Bool {
        get { isOpen.load(ordering: .relaxed) }
        set { isOpen.store(newValue, ordering: .relaxed) }
    }

    /// Whether peers' packets follow them at once to where they are heard from (`Device.Roaming.follow`).
    var follows: Bool {
        get { isFollowing.load(ordering: .relaxed) }
        set { isFollowing.store(newValue, ordering: .relaxed) }
    }

    /// Authentic packets of the peer come in on `path`. By who opens.
    @inline(__always)
    package func heard(_ peer: PeerReference, on path: Path) {
        if follows { peer.with { $0.follow(path, reclaimer) } }
    }

    // MARK: Sealing

    package enum Sealed {
        /// `length` bytes to send on the path. With `wantsRekey` the device should start a handshake.
        case sealed(PeerReference, Path, length: Int, wantsRekey: Bool)
        /// Larger than the path to its peer carries.
        case tooLarge(limit: Int)
        /// No session, or no path.
        case waits(PeerReference)
        case dropped(DropReason)
    }

    /// Seals an inner packet for the peer that its destination belongs to.
    ///
    /// Writes the datagram to `output`, behind `relayHeadroom` bytes when the peer's path is relayed, which needs room for 32
    /// bytes more than the padded packet and the headroom; `inner` may lie where the padded packet will be, else they must
    /// not overlap.
    ///
    /// - Parameter isShared: another thread may be sealing too: slower, but safe from any.
    @inline(__always)
    package func seal(
        _ inner: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer, relayHeadroom: Int,
        isShared: Bool = false, now: MonotonicTime
    ) -> Sealed {
        guard hasKey else { return .dropped(.noPrivateKey) }
        guard let packet = unsafe InnerPacket(inner) else { return .dropped(.malformedInnerPacket) }
        guard let link = routes.read({ $0.link(of: packet.destination, isIPv6: packet.isIPv6) }) ?? nil else {
            return .dropped(.noAllowedIP)
        }
        return link.with { peer in
            peer.outlet.read { outlet -> Sealed in
                // What the header says, which is at most what is there: padding behind it is no packet.
                guard packet.length <= outlet.limit || !packet.mustNotFragment else {
                    return .tooLarge(limit: outlet.limit)
                }
                let padded = min((inner.count &+ 15) & ~15, max(inner.count, mtu))
                let path = peer.path(outlet)
                let headroom = path.isRelayed ? relayHeadroom : 0
                guard output.count >= headroom &+ padded &+ TransportHeader.overhead else {
                    return .dropped(.bufferTooSmall)
                }
                guard outlet.keypair.canSend(now),
                    let length = unsafe outlet.keypair.seal(
                        inner, padded: padded,
                        into: UnsafeMutableRawBufferPointer(rebasing: output[headroom...]), isShared: isShared)
                else { return .waits(link) }
                peer.noteSent(length, carriesData: true, isShared: isShared, now)
                return .sealed(link, path, length: length, wantsRekey: outlet.keypair.isDueForRekey(now))
            } ?? .waits(link)
        }
    }

    // MARK: Opening

    /// What became of a transport data message.
    package struct Opened {
        /// Who is proven to have sent it; nil for what is not authentic.
        package let peer: PeerReference?
        /// Where in the datagram the inner packet is; empty for none.
        package var packet: Range<Int> = 0..<0
        /// Why it goes no further; nil also for an empty message.
        package var dropped: DropReason?
        /// The first use of a session that the peer initiated: the device must confirm it (`Device.confirm`).
        package var confirms: UInt32?
        /// New keys before the old ones end, where only the other side has something to say (WireGuard paper 6.2).
        package var wantsRekey = false

        init(dropped reason: DropReason) {
            peer = nil
            dropped = reason
        }

        init(_ peer: PeerReference) { self.peer = peer }
    }

    /// Opens a transport data message in place.
    ///
    /// `confirms` and `wantsRekey` are said again until `told…` notes that the device has heard.
    @inline(__always)
    package func open(_ datagram: UnsafeMutableRawBufferPointer, now: MonotonicTime) -> Opened {
        guard datagram.count >= TransportHeader.minimumSize, let base = datagram.baseAddress else {
            return Opened(dropped: .malformedMessage)
        }
        guard hasKey else { return Opened(dropped: .noPrivateKey) }
        let header = unsafe TransportHeader(base)
        let opened = sessions.read(header.receiver) { keypair -> Opened in
            guard keypair.canReceive(now) else { return Opened(dropped: .expiredKeypair) }
            guard unsafe keypair.open(datagram, counter: header.counter) else {
                return Opened(dropped: .invalidTransport)
            }
            guard keypair.accept(header.counter) else { return Opened(dropped: .replayedCounter) }
            guard let peer = keypair.peer else { return Opened(dropped: .unknownReceiver) }
            return unsafe judge(datagram, base, keypair, peer, now)
        }
        return opened ?? Opened(dropped: .unknownReceiver)
    }

    /// What an authentic message means.
    @inline(__always)
    private func judge(
        _ datagram: UnsafeMutableRawBufferPointer, _ base: UnsafeMutableRawPointer, _ keypair: Keypair,
        _ peer: PeerReference, _ now: MonotonicTime
    ) -> Opened {
        var opened = Opened(peer)
        let end = datagram.count &- ChaChaPoly.tagSize
        let carriesData = end > TransportHeader.size
        opened.wantsRekey = peer.with { peer in
            peer.noteReceived(datagram.count, carriesData: carriesData, isShared: false, now)
            return peer.outlet.read { $0.keypair.isDueForRekeyOnReceive(now) } ?? false
        }
        if keypair.awaitsConfirmation { opened.confirms = keypair.localIndex }
        guard carriesData else { return opened }
        let inner = unsafe UnsafeRawBufferPointer(
            start: base + TransportHeader.size, count: end &- TransportHeader.size)
        guard let packet = unsafe InnerPacket(inner) else {
            opened.dropped = .malformedInnerPacket
            return opened
        }
        let owner = routes.read { $0.link(of: packet.source, isIPv6: packet.isIPv6) } ?? nil
        guard owner == peer else {
            opened.dropped = .disallowedSource
            return opened
        }
        opened.packet = TransportHeader.size..<TransportHeader.size &+ packet.length
        return opened
    }

    // MARK: What the device has heard

    /// The device knows that the peer's session is due for a rekey.
    package func toldRekey(_ peer: PeerReference, _ now: MonotonicTime) {
        _ = peer.with { $0.outlet.read { $0.keypair.toldRekey(now) } }
    }

    /// The device knows that the peer's session still receives, and is due for a rekey.
    package func toldRekeyOnReceive(_ peer: PeerReference) {
        _ = peer.with { $0.outlet.read { $0.keypair.toldRekeyOnReceive() } }
    }

    /// The device knows of the first packet of the session with this index.
    package func toldConfirmed(_ index: UInt32) { _ = sessions.read(index) { $0.toldConfirmed() } }
}
