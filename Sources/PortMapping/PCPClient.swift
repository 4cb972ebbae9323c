import Addressing
import Timing

/// Keeps one UDP mapping at a PCP server, or only asks whether there is one (RFC 6887). Part of `GatewayClient`.
struct PCPClient: Sendable {
    private enum Phase {
        case idle, announcing, mapping, renewing, deleting
    }

    let server: Endpoint
    let host: IPv4Address
    let internalPort: UInt16
    private(set) var finding = MappingFinding.searching
    private(set) var mapped: MappedPort?
    private var phase = Phase.idle
    private var timer = RequestTimer()
    private var lease: Lease?
    private var epoch = ServerEpoch()
    /// The server lets only who knows it change or delete the mapping (section 11.2).
    private let nonce: [UInt8]
    private var wanted: UInt16
    private var lastAnnounce = MonotonicTime.zero

    init(gateway: IPv4Address, host: IPv4Address, internalPort: UInt16, nonce: [UInt8]) {
        server = Endpoint(.v4(gateway), port: PCP.port)
        self.host = host
        self.internalPort = internalPort
        self.nonce = nonce
        wanted = internalPort
    }

    var nextTimer: MonotonicTime { min(timer.next, lease?.renewal ?? .never, lease?.expires ?? .never) }

    /// Whether a mapping was asked for and neither granted nor refused yet.
    var isMapping: Bool { phase == .mapping }

    mutating func discover(now: MonotonicTime) {
        phase = .announcing
        finding = .searching
        timer.start(now: now)
    }

    mutating func map(now: MonotonicTime) {
        phase = .mapping
        finding = .searching
        timer.start(now: now)
    }

    /// Gives the mapping up, or the wish for one; a single request is sent, and an answer that comes late is given up too.
    mutating func release(into actions: inout [MappingAction]) {
        if mapped != nil || phase == .mapping { actions.append(.send(request(lifetime: 0), to: server)) }
        forget(into: &actions)
        phase = .deleting
        if finding == .searching { finding = .absent }
    }

    mutating func poll(lifetime: UInt32, now: MonotonicTime, into actions: inout [MappingAction]) {
        if let lease, lease.expires <= now {
            forget(into: &actions)
            map(now: now)
        } else if let lease, lease.renewal <= now {
            self.lease?.schedule(now: now)
            phase = .renewing
            timer.start(now: now)
        }
        switch timer.fire(now: now) {
        case .nothing: break
        case .request:
            let bytes = phase == .announcing ? PCP.announce(client: host) : request(lifetime: lifetime)
            actions.append(.send(bytes, to: server))
        case .giveUp:
            // An unanswered renewal is tried again when half of the rest has passed.
            if mapped == nil { finding = .absent }
            phase = .idle
        }
    }

    /// A datagram of the server's.
    mutating func receive(_ bytes: RawSpan, now: MonotonicTime, into actions: inout [MappingAction]) {
        // A server that speaks NAT-PMP alone answers in that version (section 9).
        if case .failed(NATPMP.unsupportedVersion)? = NATPMP.response(bytes) {
            if phase == .announcing || phase == .mapping { refuse(PCP.Result.unsupportedVersion) }
            return
        }
        // That a server of this version does not know it is said to our NAT-PMP request.
        guard let response = PCP.response(bytes), response.result != PCP.Result.unsupportedVersion else { return }
        switch response.opcode {
        case .announce: receiveAnnounce(response, now: now)
        case .map:
            guard let map = response.map, map.nonce == nonce, map.internalPort == internalPort else { return }
            receive(response, map, now: now, into: &actions)
        }
    }

    private mutating func receiveAnnounce(_ response: PCP.Response, now: MonotonicTime) {
        guard response.result == PCP.Result.success else {
            if phase == .announcing { refuse(response.result) }
            return
        }
        if phase == .announcing {
            _ = epoch.accept(response.epoch, now: now)
            finding = .found(external: nil)
            phase = .idle
            timer.stop()
        } else if mapped != nil, now.since(lastAnnounce) >= .seconds(5) || lastAnnounce == .zero {
            // The server has started anew, or says so: whoever forges it makes us ask once in five seconds.
            lastAnnounce = now
            if !epoch.accept(response.epoch, now: now) { lease?.renew(at: now) }
        }
    }

    private mutating func receive(
        _ response: PCP.Response, _ map: PCP.Map, now: MonotonicTime, into actions: inout [MappingAction]
    ) {
        _ = epoch.accept(response.epoch, now: now)
        let isGranted =
            response.result == PCP.Result.success && response.lifetime > 0 && map.externalPort > 0
            && map.externalAddress != .v4(.any) && map.externalAddress != .v6(.any)
        switch phase {
        case .mapping, .renewing:
            timer.stop()
            phase = .idle
            guard isGranted else {
                forget(into: &actions)
                return refuse(response.result)
            }
            let lease = Lease(seconds: response.lifetime, now: now)
            self.lease = lease
            let new = MappedPort(
                source: .pcp, external: Endpoint(map.externalAddress, port: map.externalPort),
                internalPort: internalPort, expires: lease.expires)
            if let old = mapped, old.external != new.external { actions.append(.lost(old)) }
            if mapped?.external != new.external { actions.append(.gained(new)) }
            mapped = new
            // After a restart the same port is asked for (section 11.2.1).
            wanted = map.externalPort
            finding = .found(external: map.externalAddress)
        case .deleting where isGranted:
            actions.append(.send(request(lifetime: 0), to: server))
        case .deleting, .idle, .announcing: break
        }
    }

    private mutating func refuse(_ result: UInt8) {
        timer.stop()
        phase = .idle
        finding = .refused(PCP.Result.names[result] ?? "result \(result)")
    }

    private mutating func forget(into actions: inout [MappingAction]) {
        if let mapped { actions.append(.lost(mapped)) }
        (mapped, lease) = (nil, nil)
        timer.stop()
    }

    private func request(lifetime: UInt32) -> [UInt8] {
        let port = lifetime == 0 ? 0 : wanted
        return PCP.map(
            PCP.Map(nonce: nonce, internalPort: internalPort, externalPort: port, externalAddress: .v4(.any)),
            lifetime: lifetime, client: host)
    }
}
