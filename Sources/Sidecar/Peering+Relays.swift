import Addressing
import Directory
import Membership
import Relay
import RelayStream
import Timing
import Traversal
import Tunnel

// The relays: at which we are registered and by what transport, and which of them a peer is reached through.
extension Peering {
    /// The paths to the agent of `record` through those of its home relays that are of the mesh's, in its order: those
    /// through usable relays, or all when none is. An uplink to its first is opened, or kept.
    ///
    /// The endpoints are those that the authority gave us, never those in the record: an agent must not be able to make
    /// others send to an address of its choice.
    mutating func relayPaths(for record: VerifiedRecord, now: MonotonicTime) -> [Path] {
        let known = knownRelays(of: record)
        if let first = known.first { homes.want(first, now: now) }
        let usable = known.filter(homes.isUsable)
        return (usable.isEmpty ? known : usable).map { .relayed(relay: UInt8($0), record.id) }
    }

    private func knownRelays(of record: VerifiedRecord) -> [Int] {
        record.announcement.relays.compactMap { home in homes.targets.firstIndex { $0.id == home.id } }
    }

    /// Keeps the uplink to the relay of a peer that is in use: it takes over at once when a direct path ends.
    mutating func keepRelay(of peer: MeshPeer, now: MonotonicTime) {
        guard now.since(peer.lastUsed) < .seconds(60), let first = knownRelays(of: peer.record).first else { return }
        homes.want(first, now: now)
    }

    /// When the relays have something due.
    var nextRelayTimer: MonotonicTime { min(homes.nextTimer, nextAnnouncement) }

    mutating func pollRelays(_ core: inout TunnelCore, now: MonotonicTime) {
        if homes.nextTimer <= now { homes.poll(now: now, using: &random) }
        performRelays(&core, now: now)
        if nextAnnouncement <= now {
            nextAnnouncement = .never
            announceHomes()
        }
    }

    /// The hub was away and is back.
    mutating func hubReturned(_ core: inout TunnelCore, now: MonotonicTime) {
        homes.doubt(now: now)
        pollRelays(&core, now: now)
    }

    mutating func receivedFromRelay(
        _ datagram: UnsafeMutableRawBufferPointer, _ source: Endpoint, _ core: inout TunnelCore, now: MonotonicTime
    ) {
        guard unsafe homes.receive(datagram: datagram.bytes, from: source, now: now, using: &random) != nil else {
            counters.unknownDatagrams += 1
            return
        }
        performRelays(&core, now: now)
    }

    /// Something happened on a stream.
    mutating func streamReported(_ report: StreamBridge.Report, _ core: inout TunnelCore, now: MonotonicTime) {
        switch report {
        case .opened(let relay, let attempt):
            homes.stream(isOpen: true, relay: relay, attempt: attempt, now: now, using: &random)
        case .closed(let relay, let attempt, let error):
            if let error, homes.homes.isEmpty { events.yield(.streamFailed("\(error)")) }
            homes.stream(isOpen: false, relay: relay, attempt: attempt, now: now, using: &random)
        case .frame(let bytes, let relay, let attempt):
            bridge.taken()
            _ = unsafe homes.receive(
                frame: bytes.span.bytes, relay: relay, attempt: attempt, now: now, using: &random)
        }
        performRelays(&core, now: now)
    }

    /// Relay data came in, or went out: silence of a relay that is talked through is noticed.
    mutating func noteHeard(on path: Path, now: MonotonicTime) {
        guard case .relayed(let relay, _) = path, homes.targets.indices.contains(Int(relay)) else { return }
        homes.noteHeard(Int(relay), now: now, using: &random)
    }

    mutating func noteSent(to peer: MeshPeer, now: MonotonicTime) {
        guard case .relayed(let relay, _)? = engine.status(of: peer.id)?.path,
            homes.targets.indices.contains(Int(relay))
        else { return }
        homes.want(Int(relay), now: now)
        homes.noteSent(Int(relay), now: now)
    }

    // MARK: What was decided

    /// Performs what was decided about relays.
    mutating func performRelays(_ core: inout TunnelCore, now: MonotonicTime) {
        for (relay, action) in homes.takeActions() {
            switch action {
            case .sendDatagram(let bytes): core.sendRaw(bytes, to: homes.targets[relay].endpoint)
            case .sendFrame(let frame, let attempt): bridge.send(frame, relay, attempt: attempt)
            case .open(let transport, let attempt, let hello):
                bridge.open(relay, attempt: attempt, by: transport, hello)
            case .close(let attempt): bridge.close(relay, attempt: attempt)
            }
        }
        let news = homes.takeEvents()
        guard !news.isEmpty else { return }
        var isChanged = false
        var raised: [Int] = []
        for event in news {
            switch event {
            case .homes(let list): noteHomes(list, now: now)
            case .relay(let relay, let event):
                isChanged = note(event, of: relay, &core, now: now) || isChanged
                if case .up = event { raised.append(relay) }
            }
        }
        if isChanged { choosePaths(raised, &core, now: now) }
    }

    /// True when another relay may be the right one for a peer now.
    private mutating func note(
        _ event: RelayUplink.Event, of relay: Int, _ core: inout TunnelCore, now: MonotonicTime
    ) -> Bool {
        switch event {
        case .up(let transport, let observed):
            becameUp(relay, transport, observed, &core, now: now)
            return true
        case .down:
            bridge.use(nil, for: relay)
            // By UDP what is sent may still arrive: the relay forgets us later than we give it up.
            if core.relays[relay]?.isStream == true { core.relays[relay] = nil }
            events.yield(.relay(isUp: false, detail: "\(place(of: relay))"))
            return true
        case .suspect, .recovered: return true
        case .refused(let code):
            events.yield(.relay(isUp: false, detail: "\(place(of: relay)) refused with code \(code.rawValue)"))
        case .roundTrip(let interval): if relay == homes.homes.first { engine.setRelayRoundTrip(interval) }
        case .draining, .unknownDestination: break
        }
        return false
    }

    private mutating func becameUp(
        _ relay: Int, _ transport: RelayTransport, _ observed: Endpoint, _ core: inout TunnelCore, now: MonotonicTime
    ) {
        guard let uplink = homes.uplink(relay), let header = uplink.wrapHeader(identity.id) else { return }
        // Only the registration's epoch is in the first bytes, so that they change with each.
        let prefix = (0..<4).reduce(UInt32(0)) { $0 << 8 | UInt32(header[$1]) }
        let endpoint = homes.targets[relay].endpoint
        bridge.use(uplink.activeStream, for: relay)
        core.relays[relay] = RelayRoute(endpoint: endpoint, prefix: prefix, isStream: transport != .udp)
        if upAfter[relay] == nil { upAfter[relay] = now.since(started) }
        events.yield(.relay(isUp: true, detail: "\(place(of: relay)) by \(transport)"))
        if relay == homes.homes.first, let roundTrip = uplink.roundTrip { engine.setRelayRoundTrip(roundTrip) }
        // The relay sees the same socket as STUN does.
        if transport == .udp { engine.observed(observed, by: endpoint, now: now) }
    }

    /// Has every peer's packets go through a relay that serves.
    private mutating func choosePaths(_ raised: [Int], _ core: inout TunnelCore, now: MonotonicTime) {
        for peer in Array(peers.values) {
            let paths = relayPaths(for: peer.record, now: now)
            engine.setRelays(paths, for: peer.id)
            // An introduction that went out before there was a relay, or to one that is gone, is lost.
            guard let pending = peer.introduction, let path = paths.first, case .relayed(let relay, _) = path,
                homes.isUsable(Int(relay)), path != pending.path || raised.contains(Int(relay))
            else { continue }
            peer.introduction?.path = path
            peer.introduction?.next = now
            nextIntroduction = now
        }
        perform(&core, now: now)
    }

    /// Where the relay is, by the transport that it is reached by.
    func place(of relay: Int) -> String {
        let place = relays[relay]
        let isStream = homes.uplink(relay)?.active.map { $0 != .udp } ?? place.endpoints.isEmpty
        return isStream
            ? place.streams.first?.address.description ?? "" : place.endpoints.first?.description ?? ""
    }
}
