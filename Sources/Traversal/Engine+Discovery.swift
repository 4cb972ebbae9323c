package import Addressing
import STUN
package import Timing

/// How far NAT behaviour discovery is (RFC 5780 section 4).
struct Discovery {
    var servers: [Endpoint] = []
    var samples = MappingSamples()
    /// Sockets that are compared with the home socket, where its mappings vary.
    var sampling: [SocketID] = []
    var filteringSocket: SocketID?
    var filteringMapped: Endpoint?
    /// A server's other port was let in.
    var isFilteringByAddress = false
    var isMappingKnown = false
    var isFilteringKnown = false
    /// A server whose answer came last.
    var liveServer: Endpoint?
    var otherAddress: Endpoint?
    /// What a peer saw of a home socket, and whether another saw the same.
    var seen: (mapped: Endpoint, peer: AgentID)?
    var isSeenTwice = false
    var isRunning = false
    var confirmed: MonotonicTime?
    /// When the home socket's samples must do, and when nothing will come any more.
    var enoughAt = MonotonicTime.never
    var endsAt = MonotonicTime.never

    static let endpointLimit = 4
    static let sampledSockets = 4
    static let confirmedFor = Interval.seconds(30)

    var next: MonotonicTime { min(enoughAt, endsAt) }
    var serversIPv4: [Endpoint] { servers.filter { !$0.address.isIPv6 } }
}

// Discovery: how we are seen from outside, and how our NAT behaves.
extension Engine {
    /// The STUN servers: two addresses with two ports each tell the most.
    package mutating func setServers(_ servers: [Endpoint], now: MonotonicTime) {
        guard servers != discovery.servers else { return }
        discovery.servers = servers
        networkChanged(now: now)
    }

    /// Our network may be another one now: everything is asked again, and what is known holds until then.
    package mutating func networkChanged(now: MonotonicTime) {
        closeDiscovery()
        let servers = discovery.servers
        discovery = Discovery()
        discovery.servers = servers
        guard !servers.isEmpty else { return }
        discovery.isRunning = true
        discovery.enoughAt = now + .milliseconds(400)
        discovery.endsAt = now + .milliseconds(1500)
        for server in discovery.serversIPv4.prefix(Discovery.endpointLimit) {
            ask(.homeIPv4, server, .mapping, now: now)
        }
        if configuration.hasIPv6, let server = servers.first(where: \.address.isIPv6) {
            ask(.homeIPv6, server, .mapping, now: now)
        }
        flushRequests(now: now)
    }

    /// A relay sees our home socket there, as a server would.
    package mutating func observed(_ mapped: Endpoint, by server: Endpoint, now: MonotonicTime) {
        guard !configuration.policy.refuses(mapped) else { return counters.refusedTargets += 1 }
        let socket = SocketID.home(for: server.address)
        let isNew = discovery.samples.isContradicted(socket, server, mapped)
        if isNew { networkChanged(now: now) }
        discovery.samples.add(MappingSamples.Sample(socket: socket, server: server, mapped: mapped, order: -1))
        candidatesChanged(now: now)
        guard !discovery.isRunning, discovery.isMappingKnown, socket == .homeIPv4, behavior.hasOneMapping,
            !discovery.samples.mapping(of: socket, hosts: []).isSingle
        else { return }
        // Too few servers had seen it: it is another mapping for each after all.
        discovery.isRunning = true
        discovery.isMappingKnown = false
        discovery.endsAt = now + .milliseconds(1500)
        judgeHome(isComplete: true, now: now)
    }

    /// Asks whether the mapping is still what it was, when that was not seen lately.
    mutating func refreshDiscovery(now: MonotonicTime) {
        guard let confirmed = discovery.confirmed, !discovery.isRunning,
            now.since(confirmed) >= Discovery.confirmedFor, !requests.contains(.refresh),
            let server = discovery.liveServer ?? discovery.serversIPv4.first
        else { return }
        ask(.homeIPv4, server, .refresh, now: now)
        flushRequests(now: now)
    }

    /// Asks a server that answers how it sees a socket.
    mutating func ask(_ socket: SocketID, _ purpose: BindingRequests.Purpose, now: MonotonicTime) {
        guard let server = discovery.liveServer ?? discovery.serversIPv4.first else { return }
        ask(socket, server, purpose, now: now)
        flushRequests(now: now)
    }

    mutating func ask(
        _ socket: SocketID, _ server: Endpoint, _ purpose: BindingRequests.Purpose, now: MonotonicTime
    ) {
        let transaction = TransactionID(high: UInt32(truncatingIfNeeded: random.next()), low: random.next())
        requests.add(socket, server, purpose, transaction: transaction, now: now)
    }

    mutating func flushRequests(now: MonotonicTime) {
        let due = requests.due(now: now)
        for request in due.sends { send(request.bytes, .direct(request.route)) }
        for request in due.failed { failed(request, now: now) }
        agenda.note(min(requests.next, discovery.next))
    }

    mutating func tickDiscovery(now: MonotonicTime) {
        flushRequests(now: now)
        guard discovery.isRunning else { return }
        if discovery.enoughAt <= now {
            discovery.enoughAt = .never
            judgeHome(isComplete: false, now: now)
        }
        if discovery.endsAt <= now { endDiscovery(now: now) }
    }

    // MARK: Answers

    mutating func receiveSTUN(_ datagram: [UInt8], on socket: SocketID, from source: Endpoint, now: MonotonicTime) {
        guard let answer = requests.answer(datagram, on: socket, from: source) else {
            return counters.stunRefused += 1
        }
        // Where nobody may send, a server's word does not make a candidate of it.
        guard !configuration.policy.refuses(answer.mapped) else { return counters.refusedTargets += 1 }
        switch answer.request.purpose {
        case .mapping: noteMapping(answer, now: now)
        case .refresh: noteRefresh(answer, now: now)
        case .filtering(let test): noteFiltering(answer, test, now: now)
        case .opening(let peer): sampled(socket, answer.mapped, for: peer, now: now)
        }
        flushRequests(now: now)
    }

    private mutating func noteMapping(_ answer: BindingRequests.Answer, now: MonotonicTime) {
        let request = answer.request
        discovery.samples.add(
            MappingSamples.Sample(
                socket: request.socket, server: request.server, mapped: answer.mapped, order: request.order))
        if !request.server.address.isIPv6 {
            discovery.liveServer = request.server
            discovery.confirmed = now
            if let other = answer.otherAddress, discovery.otherAddress == nil {
                learn(other, of: request.server, now: now)
            }
        }
        if request.socket.isHome { candidatesChanged(now: now) }
        judgeHome(isComplete: true, now: now)
    }

    /// A server with another address and port has four endpoints (RFC 5780 section 7.4).
    private mutating func learn(_ other: Endpoint, of server: Endpoint, now: MonotonicTime) {
        guard other.address != server.address, other.port != server.port, !other.address.isIPv6,
            !configuration.policy.refuses(other)
        else { return }
        discovery.otherAddress = other
        for endpoint in [
            Endpoint(server.address, port: other.port), Endpoint(other.address, port: server.port), other,
        ] where !discovery.serversIPv4.contains(endpoint) && discovery.serversIPv4.count < Discovery.endpointLimit {
            discovery.servers.append(endpoint)
            ask(.homeIPv4, endpoint, .mapping, now: now)
        }
        if isMappedByNode {
            // The map is for the home socket alone: another one would tell of the node's NAT.
            discovery.isFilteringKnown = true
            return
        }
        guard discovery.filteringSocket == nil, let socket = open(.discovery) else { return }
        discovery.filteringSocket = socket
        ask(socket, server, .filtering(.mapping), now: now)
    }

    /// Every server so far sees the home socket at the node's port.
    private var isMappedByNode: Bool {
        let home = discovery.samples.samples.filter { $0.socket == .homeIPv4 }
        return !home.isEmpty && home.allSatisfy { isNodeMapped($0.mapped) }
    }

    private mutating func noteRefresh(_ answer: BindingRequests.Answer, now: MonotonicTime) {
        discovery.confirmed = now
        let known = discovery.samples.samples.filter { $0.socket == .homeIPv4 }.map(\.mapped)
        let isKnown =
            if behavior.hasManyMappings {
                known.contains { $0.address == answer.mapped.address }
            } else if isPooled {
                known.contains { $0.port == answer.mapped.port }
            } else {
                known.contains(answer.mapped)
            }
        if !isKnown { networkChanged(now: now) }
    }

    /// What the home socket's samples say, when all have come or no more are waited for.
    private mutating func judgeHome(isComplete: Bool, now: MonotonicTime) {
        guard discovery.isRunning, !discovery.isMappingKnown else { return finishIfDone(now: now) }
        let waits = requests.outstanding.contains { $0.purpose == .mapping && !$0.server.address.isIPv6 }
        let seen = discovery.samples.samples.filter { !$0.server.address.isIPv6 }
        guard !seen.isEmpty, !(isComplete && waits) else { return }
        let mapping = discovery.samples.mapping(of: .homeIPv4, hosts: Set(hostCandidates.map(\.endpoint)))
        if mapping == .addressDependent || mapping == .addressAndPortDependent {
            if discovery.sampling.isEmpty, ledger.available >= Discovery.sampledSockets {
                discovery.sampling = (0..<Discovery.sampledSockets).compactMap { _ in open(.discovery) }
                for socket in discovery.sampling {
                    for server in discovery.serversIPv4.prefix(Discovery.endpointLimit) {
                        ask(socket, server, .mapping, now: now)
                    }
                }
                discovery.enoughAt = now + .milliseconds(500)
                return flushRequests(now: now)
            }
        }
        discovery.isMappingKnown = true
        discovery.enoughAt = .never
        var known = NATBehavior(mapping, behavior.filtering)
        if known.hasManyMappings {
            known.allocation = discovery.samples.allocation
            known.remapsAfterUnsolicited = false
        } else {
            let port = hostCandidates.first { !$0.endpoint.address.isIPv6 }?.endpoint.port
            let mapped = seen.first { $0.socket == .homeIPv4 }?.mapped
            known.allocation = mapped?.port == port ? .preserving : .rewritten
        }
        setBehavior(known, now: now)
        finishIfDone(now: now)
    }

    private mutating func failed(_ request: BindingRequests.Request, now: MonotonicTime) {
        switch request.purpose {
        case .filtering(.otherAddress), .filtering(.otherPort):
            filteringTestFailed(now: now)
        case .filtering(.mapping), .filtering(.remapping): filteringDone(now: now)
        case .refresh: networkChanged(now: now)
        case .mapping: judgeHome(isComplete: true, now: now)
        case .opening: break
        }
    }

    // MARK: The end

    mutating func finishIfDone(now: MonotonicTime) {
        guard discovery.isRunning, discovery.isMappingKnown,
            discovery.isFilteringKnown || discovery.filteringSocket == nil && discovery.otherAddress == nil
        else { return }
        endDiscovery(now: now)
    }

    private mutating func endDiscovery(now: MonotonicTime) {
        if !discovery.isMappingKnown {
            if discovery.samples.samples.contains(where: { !$0.server.address.isIPv6 }) {
                judgeHome(isComplete: false, now: now)
            } else if !discovery.serversIPv4.isEmpty {
                setBehavior(NATBehavior(.blocked), now: now)
            }
        }
        discovery.isRunning = false
        discovery.enoughAt = .never
        discovery.endsAt = .never
        discovery.confirmed = now
        closeDiscovery()
    }

    private mutating func closeDiscovery() {
        for socket in discovery.sampling { close(socket) }
        if let socket = discovery.filteringSocket { close(socket) }
        discovery.sampling = []
        requests.cancel { request in
            switch request.purpose {
            case .opening: false
            default: true
            }
        }
    }

    /// Peers that are not direct hear of it.
    mutating func setBehavior(_ known: NATBehavior, now: MonotonicTime) {
        guard known != behavior else { return }
        behavior = known
        for peer in peers.values where peer.needsDirect && peer.wasCalled && peer.isActive(now) {
            sendCall(peer, [])
            planMore(peer, now: now)
        }
    }
}
