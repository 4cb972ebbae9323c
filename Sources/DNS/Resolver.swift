package import Addressing
package import Timing

/// A pod's resolver: names of the mesh are answered from the directory, all else is passed on untouched.
///
/// Sans-I/O: queries, answers of servers and of the directory go in, with the time; what is to be done comes out by
/// `takeActions`. Not safe for concurrent use: one thread owns it.
package struct Resolver {
    /// Who asked, and how to answer.
    package enum Client: Hashable, Sendable {
        case datagram(socket: Int, from: Endpoint)
        case stream(UInt32)

        var isStream: Bool { if case .stream = self { true } else { false } }
    }

    package enum Action: Equatable, Sendable {
        case answer(Client, [UInt8])
        /// Send to a server, from a socket of its own with a port that nobody can guess.
        case send(attempt: UInt32, to: Endpoint, [UInt8], overTCP: Bool)
        /// No answer to this attempt is awaited any more.
        case close(attempt: UInt32)
        case lookUp(MeshKey)
    }

    /// What is told to clients: names change hands when pods do.
    package static let ttl: UInt32 = 5
    package static let negativeTTL: UInt32 = 2
    package static let addressLimit = 16
    package static let forwardLimit = 512
    package static let streamForwardLimit = 32
    package static let waiterLimit = 512
    /// From one server to the next; after as many attempts as there are, the client is told.
    package static let attemptTime = Interval.milliseconds(1500)
    package static let attemptLimit = 3
    /// How long the directory may take.
    package static let lookupTime = Interval.milliseconds(1500)
    package static let lookupLimit = TokenBucket.Limit(perSecond: 64, burst: 256)

    private struct Waiter {
        let client: Client
        let query: Query
        let place: MeshZone.Place
    }

    private struct Pending {
        var waiters: [Waiter] = []
        let deadline: MonotonicTime
    }

    package private(set) var counters = ResolverCounters()
    package var zone: MeshZone
    /// Whether the directory can be asked.
    package var isConnected = false
    private var cache = MeshCache()
    private var pending: [MeshKey: Pending] = [:]
    private var lookups: [(deadline: MonotonicTime, key: MeshKey)] = []
    private var waiting = 0
    private var lookupBudget: TokenBucket
    private var rotation = 0
    private var forwarder: Forwarder
    private var actions: [Action] = []

    /// - Parameter random: unpredictable, for the ids of what is passed on.
    package init(
        zone: MeshZone, upstreams: [Endpoint], now: MonotonicTime, random: @escaping @Sendable () -> UInt16
    ) {
        self.zone = zone
        forwarder = Forwarder(upstreams, random: random)
        lookupBudget = TokenBucket(full: Self.lookupLimit, now: now)
    }

    package var upstreamsDown: Bool { forwarder.upstreams.allDown }

    package mutating func takeActions() -> [Action] {
        defer { actions.removeAll(keepingCapacity: true) }
        return actions
    }

    package var nextDeadline: MonotonicTime { min(forwarder.nextDeadline, lookups.first?.deadline ?? .never) }

    // MARK: Events

    package mutating func receive(_ bytes: [UInt8], from client: Client, now: MonotonicTime) {
        let query: Query
        do throws(Query.Fault) { query = try Query(bytes) } catch {
            guard case .answer(let code) = error else { return counters.dropped += 1 }
            counters.malformed += 1
            return actions.append(.answer(client, Response.bare(code, to: bytes)))
        }
        guard query.question.recordClass == Question.internet else { return forward(bytes, query, client, now) }
        let place = zone.place(of: query.question.name)
        if place == .outside { return forward(bytes, query, client, now) }
        if let edns = query.edns, edns.version > 0 {
            counters.malformed += 1
            return answer(Response(code: .badVersion), to: query, client)
        }
        switch place {
        case .outside: break
        case .nowhere(let zone): deny(query, client, .nameError, zone)
        case .empty(let zone): deny(query, client, .noError, zone)
        case .known(let key, _, let zone):
            switch cache.find(key, now: now) {
            case .fresh(let value): answer(value, query, client, place)
            case .failed(let stale): answerStale(stale, query, client, place)
            case .due(let stale) where !isConnected && stale != nil: answerStale(stale, query, client, place)
            // What search lists make of other names must not end the search while the directory is away.
            case .due where !isConnected && Self.isDeep(key): deny(query, client, .nameError, zone)
            case .due(let stale): wait(for: key, Waiter(client: client, query: query, place: place), stale, now)
            }
        }
    }

    /// The directory's answer.
    package mutating func resolved(_ key: MeshKey, _ outcome: MeshOutcome, now: MonotonicTime) {
        cache.note(key, outcome, now: now)
        release(key, now: now)
    }

    /// The directory said something new of a name without being asked: it counts where the name was asked for before.
    package mutating func updated(_ key: MeshKey, _ outcome: MeshOutcome, now: MonotonicTime) {
        if cache.isKept(key) { cache.note(key, outcome, now: now) }
    }

    /// What a server sent to an attempt's socket.
    package mutating func received(_ bytes: [UInt8], attempt: UInt32, now: MonotonicTime) {
        switch forwarder.received(bytes, attempt: attempt, now: now, &actions) {
        case .answered: counters.forwarded += 1
        case .foreign: counters.foreignAnswers += 1
        case .late: break
        }
    }

    /// An attempt's server can't be reached.
    package mutating func failed(attempt: UInt32, now: MonotonicTime) {
        counters.forwardFailed += forwarder.failed(attempt: attempt, now: now, &actions)
    }

    package mutating func tick(now: MonotonicTime) {
        counters.forwardFailed += forwarder.tick(now: now, &actions)
        var expired = 0
        while expired < lookups.count, lookups[expired].deadline <= now {
            let (deadline, key) = lookups[expired]
            expired += 1
            // Answered since, and perhaps asked again.
            if pending[key]?.deadline == deadline {
                cache.note(key, .failed, now: now)
                release(key, now: now)
            }
        }
        lookups.removeFirst(expired)
    }

    // MARK: Names of the mesh

    private mutating func wait(
        for key: MeshKey, _ waiter: Waiter, _ stale: MeshCache.Value?, _ now: MonotonicTime
    ) {
        guard waiting < Self.waiterLimit else { return answerStale(stale, waiter.query, waiter.client, waiter.place) }
        if pending[key] == nil {
            guard lookupBudget.take(1, limit: Self.lookupLimit, now: now) else {
                return answerStale(stale, waiter.query, waiter.client, waiter.place)
            }
            let deadline = now + Self.lookupTime
            pending[key] = Pending(deadline: deadline)
            lookups.append((deadline, key))
            actions.append(.lookUp(key))
        }
        pending[key]?.waiters.append(waiter)
        waiting += 1
    }

    private mutating func release(_ key: MeshKey, now: MonotonicTime) {
        guard let pending = pending.removeValue(forKey: key) else { return }
        waiting -= pending.waiters.count
        let found = cache.find(key, now: now)
        for waiter in pending.waiters {
            switch found {
            case .fresh(let value): answer(value, waiter.query, waiter.client, waiter.place)
            case .failed(let stale), .due(let stale):
                answerStale(stale, waiter.query, waiter.client, waiter.place)
            }
        }
    }

    private mutating func answerStale(
        _ stale: MeshCache.Value?, _ query: Query, _ client: Client, _ place: MeshZone.Place
    ) {
        if let stale {
            counters.stale += 1
            return answer(stale, query, client, place)
        }
        counters.meshFailed += 1
        answer(Response(code: .serverFailure), to: query, client)
    }

    private mutating func answer(
        _ value: MeshCache.Value, _ query: Query, _ client: Client, _ place: MeshZone.Place
    ) {
        guard case .known(let key, let service, let zone) = place else { return }
        guard case .hosts(var hosts) = value, !hosts.isEmpty else { return deny(query, client, .nameError, zone) }
        if hosts.count > 1 {
            rotation = rotation &+ 1
            let turn = rotation % hosts.count
            hosts = Array(hosts[turn...] + hosts[..<turn])
        }
        var response = Response(isAuthoritative: true)
        if let service {
            guard hosts.contains(where: { $0.services.contains { $0.service == service } }) else {
                return deny(query, client, .nameError, zone)
            }
            if query.question.type.asks(for: .srv) { add(hosts, service, to: &response) }
        } else if case .address = key {
            if query.question.type.asks(for: .ptr) {
                response.answers = hosts.prefix(1).compactMap { host in
                    DomainName(host.name, below: self.zone.domain).map { .pointer(to: $0, ttl: Self.ttl) }
                }
            }
        } else {
            let addresses = hosts.flatMap(\.addresses).filter {
                query.question.type.asks(for: $0.isIPv6 ? .aaaa : .a)
            }
            response.answers = addresses.prefix(Self.addressLimit).map { .address($0, ttl: Self.ttl) }
        }
        guard !response.answers.isEmpty else { return deny(query, client, .noError, zone) }
        counters.mesh += 1
        answer(response, to: query, client)
    }

    private func add(_ hosts: [MeshHost], _ service: MeshZone.Service, to response: inout Response) {
        for host in hosts.prefix(Self.addressLimit) {
            guard let target = DomainName(host.name, below: zone.domain) else { continue }
            let ports = host.services.filter { $0.service == service }
            response.answers += ports.map { .service(port: $0.number, target: target, ttl: Self.ttl) }
            guard !ports.isEmpty else { continue }
            response.additionals += host.addresses.map { .address($0, owner: target, ttl: Self.ttl) }
        }
    }

    private mutating func deny(_ query: Query, _ client: Client, _ code: ResponseCode, _ zone: DomainName) {
        if code == .nameError { counters.meshNobody += 1 } else { counters.mesh += 1 }
        var response = Response(code: code, isAuthoritative: true)
        response.authorities = [.authority(of: zone, minimum: Self.negativeTTL)]
        answer(response, to: query, client)
    }

    private mutating func answer(_ response: Response, to query: Query, _ client: Client) {
        let limit = client.isStream ? Int(UInt16.max) : query.udpLimit
        actions.append(.answer(client, response.encoded(for: query, limit: limit)))
    }

    private static func isDeep(_ key: MeshKey) -> Bool {
        guard case .agent(let name) = key else { return false }
        return name.utf8.count { $0 == UInt8(ascii: ".") } >= 2
    }

    // MARK: All else

    private mutating func forward(_ bytes: [UInt8], _ query: Query, _ client: Client, _ now: MonotonicTime) {
        if !forwarder.forward(bytes, query, client, now: now, &actions) { counters.forwardFailed += 1 }
    }
}

extension RecordType {
    func asks(for type: RecordType) -> Bool { self == type || self == .any }
}
