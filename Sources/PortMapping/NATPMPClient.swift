import Addressing
import Timing

/// Asks a NAT-PMP server for its external address, and for one UDP mapping if so told (RFC 6886). Part of
/// `GatewayClient`.
struct NATPMPClient: Sendable {
    private enum Phase {
        case idle, asking, mapping, renewing
    }

    let server: Endpoint
    let internalPort: UInt16
    private(set) var finding = MappingFinding.searching
    private(set) var mapped: MappedPort?
    private(set) var external: IPv4Address?
    private var phase = Phase.idle
    private var timer = RequestTimer()
    private var lease: Lease?
    private var epoch = ServerEpoch()
    private var wanted: UInt16
    private var lastAnnounce = MonotonicTime.zero

    init(gateway: IPv4Address, internalPort: UInt16) {
        server = Endpoint(.v4(gateway), port: NATPMP.port)
        self.internalPort = internalPort
        wanted = internalPort
    }

    var nextTimer: MonotonicTime { min(timer.next, lease?.renewal ?? .never, lease?.expires ?? .never) }

    var isMapping: Bool { phase == .mapping }

    mutating func discover(now: MonotonicTime) {
        phase = .asking
        finding = .searching
        timer.start(now: now)
    }

    /// Once it is found.
    mutating func map(now: MonotonicTime) {
        phase = .mapping
        timer.start(now: now)
    }

    mutating func release(into actions: inout [MappingAction]) {
        if mapped != nil || phase == .mapping {
            actions.append(
                .send(NATPMP.map(internalPort: internalPort, externalPort: 0, lifetime: 0), to: server))
        }
        forget(into: &actions)
    }

    mutating func poll(lifetime: UInt32, now: MonotonicTime, into actions: inout [MappingAction]) {
        if let lease, lease.expires <= now {
            forget(into: &actions)
            discover(now: now)
        } else if let lease, lease.renewal <= now {
            self.lease?.schedule(now: now)
            phase = .renewing
            timer.start(now: now)
        }
        switch timer.fire(now: now) {
        case .nothing: break
        case .request:
            // The address may have changed, too.
            if phase != .mapping { actions.append(.send(NATPMP.addressRequest, to: server)) }
            if phase != .asking {
                actions.append(
                    .send(
                        NATPMP.map(internalPort: internalPort, externalPort: wanted, lifetime: lifetime), to: server))
            }
        case .giveUp:
            if mapped == nil { finding = phase == .asking ? .absent : .refused("no answer to the mapping request") }
            phase = .idle
        }
    }

    /// A datagram of the server's, or one that it sent to all hosts.
    mutating func receive(_ bytes: RawSpan, now: MonotonicTime, into actions: inout [MappingAction]) {
        switch NATPMP.response(bytes) {
        // Said to our PCP request.
        case .failed(NATPMP.unsupportedVersion): break
        case nil where phase == .asking && PCP.response(bytes)?.result == PCP.Result.unsupportedVersion:
            fail("it speaks PCP alone", into: &actions)
            phase = .idle
            timer.stop()
        case .address(let address, let epoch): receive(address, epoch, now: now, into: &actions)
        case .mapped(let inner, let outer, let lifetime, let epoch)
        where inner == internalPort && (phase == .mapping || phase == .renewing):
            _ = self.epoch.accept(epoch, now: now)
            phase = .idle
            timer.stop()
            guard lifetime > 0, outer > 0, let external else {
                return fail("the mapping was not granted", into: &actions)
            }
            let lease = Lease(seconds: lifetime, now: now)
            self.lease = lease
            wanted = outer
            become(
                MappedPort(
                    source: .natPMP, external: Endpoint(.v4(external), port: outer), internalPort: internalPort,
                    expires: lease.expires), into: &actions)
        case .failed(let result) where phase != .idle:
            phase = .idle
            timer.stop()
            fail(NATPMP.names[result] ?? "result \(result)", into: &actions)
        case .mapped, .failed, nil: break
        }
    }

    private mutating func receive(
        _ address: IPv4Address, _ epoch: UInt32, now: MonotonicTime, into actions: inout [MappingAction]
    ) {
        let isSame = self.epoch.accept(epoch, now: now)
        external = address
        if phase == .asking {
            phase = .idle
            timer.stop()
            finding = .found(external: .v4(address))
        } else if let old = mapped {
            finding = .found(external: .v4(address))
            if old.external.address != .v4(address) {
                var new = old
                new.external = Endpoint(.v4(address), port: old.external.port)
                become(new, into: &actions)
            }
            // The server has started anew (section 3.6): at most once in five seconds.
            if !isSame, phase == .idle, now.since(lastAnnounce) >= .seconds(5) || lastAnnounce == .zero {
                lastAnnounce = now
                lease?.renew(at: now)
            }
        }
    }

    private mutating func become(_ new: MappedPort, into actions: inout [MappingAction]) {
        if let old = mapped, old.external != new.external { actions.append(.lost(old)) }
        if mapped?.external != new.external { actions.append(.gained(new)) }
        mapped = new
    }

    private mutating func fail(_ reason: String, into actions: inout [MappingAction]) {
        if mapped != nil { forget(into: &actions) }
        finding = .refused(reason)
    }

    private mutating func forget(into actions: inout [MappingAction]) {
        if let mapped { actions.append(.lost(mapped)) }
        (mapped, lease) = (nil, nil)
        phase = .idle
        timer.stop()
    }
}
