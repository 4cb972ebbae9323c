import Addressing
import Timing

/// Finds a UPnP Internet Gateway Device at the gateway, and keeps one UDP mapping there if so told. Part of
/// `GatewayClient`.
///
/// Search, description and control are followed only on the gateway's own address. IGD:2 is asked for any port
/// (AddAnyPortMapping), IGD:1 for the inner one and then for others that it may have free.
struct UPnPClient: Sendable {
    private enum Phase: Equatable {
        case idle, searching
        case describing(GatewayURL)
        case addressing, mapping, renewing
    }

    /// A mapping without an end is looked after as one of an hour, and deleted all the same.
    static let permanentLease: UInt32 = 3600
    static let maximumAttempts = 4

    let gateway: IPv4Address
    let host: IPv4Address
    let internalPort: UInt16
    private(set) var finding = MappingFinding.searching
    private(set) var mapped: MappedPort?
    private var phase = Phase.idle
    private var timer = RequestTimer()
    private var lease: Lease?
    private var service: IGDService?
    private var external: IPv4Address?
    /// The exchange whose answer is waited for.
    private var awaited: Int?
    private var wanted: UInt16
    private var attempts = 0
    private var isPermanent = false

    init(gateway: IPv4Address, host: IPv4Address, internalPort: UInt16) {
        self.gateway = gateway
        self.host = host
        self.internalPort = internalPort
        wanted = internalPort
    }

    var nextTimer: MonotonicTime { min(timer.next, lease?.renewal ?? .never, lease?.expires ?? .never) }

    var isMapping: Bool { phase == .mapping }

    mutating func discover(now: MonotonicTime) {
        phase = .searching
        finding = .searching
        timer.start(now: now)
    }

    /// Once it is found.
    mutating func map(lifetime: UInt32, _ exchange: inout ExchangeNumber, into actions: inout [MappingAction]) {
        attempts = 1
        phase = .mapping
        add(lifetime: lifetime, &exchange, into: &actions)
    }

    mutating func release(_ exchange: inout ExchangeNumber, into actions: inout [MappingAction]) {
        if let service, mapped != nil || phase == .mapping {
            let arguments = [
                ("NewRemoteHost", ""), ("NewExternalPort", "\(wanted)"), ("NewProtocol", "UDP"),
            ]
            actions.append(
                .exchange(
                    exchange.next(), to: service.control.endpoint,
                    request: UPnP.call(service, "DeletePortMapping", arguments)))
        }
        forget(into: &actions)
    }

    mutating func poll(
        lifetime: UInt32, now: MonotonicTime, _ exchange: inout ExchangeNumber, into actions: inout [MappingAction]
    ) {
        if let lease, lease.expires <= now {
            forget(into: &actions)
            discover(now: now)
        } else if let lease, lease.renewal <= now {
            self.lease?.schedule(now: now)
            // The address first, which may have changed; then the mapping.
            phase = .renewing
            attempts = 1
            askAddress(&exchange, into: &actions)
        }
        switch timer.fire(now: now) {
        case .nothing: break
        case .request:
            let group = Endpoint(.v4(UPnP.group), port: UPnP.ssdpPort)
            for destination in [group, Endpoint(.v4(gateway), port: UPnP.ssdpPort)] {
                for target in UPnP.searchTargets {
                    actions.append(.send(UPnP.search(target, host: destination), to: destination))
                }
            }
        case .giveUp:
            finding = .absent
            phase = .idle
        }
    }

    /// A datagram of the gateway's that is not from its PCP port.
    mutating func receive(_ bytes: RawSpan, _ exchange: inout ExchangeNumber, into actions: inout [MappingAction]) {
        guard phase == .searching, let url = UPnP.location(in: bytes, gateway: gateway) else { return }
        timer.stop()
        phase = .describing(url)
        send(UPnP.get(url), to: url.endpoint, &exchange, into: &actions)
    }

    /// What an exchange brought; nil when there was no connection or no answer.
    mutating func exchanged(
        _ number: Int, _ response: HTTPResponse?, lifetime: UInt32, now: MonotonicTime,
        using random: inout some RandomNumberGenerator, _ exchange: inout ExchangeNumber,
        into actions: inout [MappingAction]
    ) {
        guard number == awaited else { return }
        awaited = nil
        switch phase {
        case .idle, .searching: break
        case .describing(let url):
            guard let response, response.status == 200 else {
                return fail("no description at \(url.endpoint)", into: &actions)
            }
            guard let service = IGDService(description: response.body, at: url) else {
                return fail("its description names no WAN connection", into: &actions)
            }
            self.service = service
            phase = .addressing
            askAddress(&exchange, into: &actions)
        case .addressing, .renewing:
            guard let external = externalAddress(response) else {
                // A renewal is tried again; the mapping may live.
                if phase == .renewing { phase = .idle } else { fail("it names no external address", into: &actions) }
                return
            }
            self.external = external
            finding = .found(external: .v4(external))
            if phase == .renewing {
                add(lifetime: lifetime, &exchange, into: &actions)
                phase = .mapping
            } else {
                phase = .idle
            }
        case .mapping:
            finish(
                response, lifetime: lifetime, now: now, using: &random, &exchange, into: &actions)
        }
    }

    private func externalAddress(_ response: HTTPResponse?) -> IPv4Address? {
        guard let response, case .values(let values) = UPnP.reply(response, to: "GetExternalIPAddress") else {
            return nil
        }
        return values["NewExternalIPAddress"].flatMap { IPv4Address($0) }.flatMap { $0 == .any ? nil : $0 }
    }

    private var addAction: String { service?.kind == .ip2 ? "AddAnyPortMapping" : "AddPortMapping" }

    private mutating func askAddress(_ exchange: inout ExchangeNumber, into actions: inout [MappingAction]) {
        guard let service else { return }
        send(UPnP.call(service, "GetExternalIPAddress"), to: service.control.endpoint, &exchange, into: &actions)
    }

    private mutating func add(lifetime: UInt32, _ exchange: inout ExchangeNumber, into actions: inout [MappingAction]) {
        guard let service else { return }
        let arguments = [
            ("NewRemoteHost", ""), ("NewExternalPort", "\(wanted)"), ("NewProtocol", "UDP"),
            ("NewInternalPort", "\(internalPort)"), ("NewInternalClient", "\(host)"), ("NewEnabled", "1"),
            ("NewPortMappingDescription", "warren"), ("NewLeaseDuration", "\(isPermanent ? 0 : lifetime)"),
        ]
        send(UPnP.call(service, addAction, arguments), to: service.control.endpoint, &exchange, into: &actions)
    }

    private mutating func finish(
        _ response: HTTPResponse?, lifetime: UInt32, now: MonotonicTime,
        using random: inout some RandomNumberGenerator, _ exchange: inout ExchangeNumber,
        into actions: inout [MappingAction]
    ) {
        phase = .idle
        guard let response else {
            if mapped == nil { fail("no answer to the mapping request", into: &actions) }
            return
        }
        switch UPnP.reply(response, to: addAction) {
        case .values(let values):
            if let port = values["NewReservedPort"].flatMap({ UInt16($0) }), port > 0 { wanted = port }
            guard let external else { return }
            let lease = Lease(seconds: isPermanent ? Self.permanentLease : lifetime, now: now)
            self.lease = lease
            let new = MappedPort(
                source: .upnp, external: Endpoint(.v4(external), port: wanted), internalPort: internalPort,
                expires: lease.expires)
            if let old = mapped, old.external != new.external { actions.append(.lost(old)) }
            if mapped?.external != new.external { actions.append(.gained(new)) }
            mapped = new
        case .fault(let code):
            guard attempts < Self.maximumAttempts, adapt(to: code, using: &random) else {
                return fail("UPnP error \(code)", into: &actions)
            }
            attempts += 1
            phase = .mapping
            add(lifetime: lifetime, &exchange, into: &actions)
        case .unusable: fail("an answer that can't be read", into: &actions)
        }
    }

    /// Changes what is asked for so that it may succeed; false when nothing would help.
    private mutating func adapt(to code: Int, using random: inout some RandomNumberGenerator) -> Bool {
        switch code {
        case 718, 501:  // ConflictInMappingEntry, Action Failed: another port
            wanted = UInt16.random(in: 20_000...60_000, using: &random)
            return true
        case 725, 402:  // OnlyPermanentLeasesSupported, and what some say instead
            if isPermanent { return false }
            isPermanent = true
            return true
        case 401 where service?.kind == .ip2:  // Invalid Action
            service?.kind = .ip1
            return true
        default: return false
        }
    }

    private mutating func send(
        _ request: [UInt8], to endpoint: Endpoint, _ exchange: inout ExchangeNumber, into actions: inout [MappingAction]
    ) {
        let number = exchange.next()
        awaited = number
        actions.append(.exchange(number, to: endpoint, request: request))
    }

    private mutating func fail(_ reason: String, into actions: inout [MappingAction]) {
        forget(into: &actions)
        finding = .refused(reason)
    }

    private mutating func forget(into actions: inout [MappingAction]) {
        if let mapped { actions.append(.lost(mapped)) }
        (mapped, lease, awaited) = (nil, nil, nil)
        phase = .idle
        timer.stop()
    }
}

/// Numbers for exchanges, each used once.
struct ExchangeNumber: Sendable {
    private var last = 0
    mutating func next() -> Int {
        last += 1
        return last
    }
}
