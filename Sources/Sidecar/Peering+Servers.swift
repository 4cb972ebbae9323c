import Addressing
import Membership
import Relay
import STUN
import Timing
import Traversal
import Tunnel

// The relay and the STUN servers, on the tunnel's own socket.
extension Peering {
    /// The path to the agent of `record` through the first of its home relays that is one of the mesh's.
    ///
    /// The endpoint is the one that the authority gave us, never the one in the record: an agent must not be able to make
    /// others send to an address of its choice.
    func relayPath(for record: VerifiedRecord) -> Path? {
        for home in record.announcement.relays {
            if let index = relays.firstIndex(where: { $0.id == home.id }) {
                return .relayed(relay: UInt8(index), record.id)
            }
        }
        return nil
    }

    mutating func pollRelays(_ core: inout TunnelCore, now: MonotonicTime) {
        for index in relays.indices {
            while let step = relays[index].client.poll(now: now, using: &random) {
                perform(step, relay: index, &core, now: now)
            }
        }
    }

    mutating func receivedFromRelay(
        _ datagram: UnsafeMutableRawBufferPointer, _ source: Endpoint, _ core: inout TunnelCore, now: MonotonicTime
    ) {
        guard let index = relays.firstIndex(where: { $0.client.relay == source }) else {
            counters.unknownDatagrams += 1
            return
        }
        let received = relays[index].client.receive(unsafe datagram.bytes, from: source, now: now, using: &random)
        if case .control(let step) = received { perform(step, relay: index, &core, now: now) }
    }

    private mutating func perform(
        _ step: RelayClient.Step, relay index: Int, _ core: inout TunnelCore, now: MonotonicTime
    ) {
        let client = relays[index].client
        if let datagram = step.send { core.sendRaw(datagram, to: client.relay) }
        switch step.event {
        case .up(let observed):
            // Only the registration's epoch is in the header, so it changes with each.
            let header = client.wrapHeader(identity.id)
            core.relays[index] = header.map { bytes in
                let prefix = (0..<4).reduce(UInt32(0)) { $0 << 8 | UInt32(bytes[$1]) }
                return TunnelCore.RelayRoute(endpoint: client.relay, prefix: prefix)
            }
            events.yield(.relay(isUp: true, detail: "\(client.relay)"))
            // The relay sees the same socket as STUN does.
            note(mapping: observed, by: client.relay, &core, now: now)
        case .down(let reason):
            events.yield(.relay(isUp: false, detail: "\(reason)"))
        case .refused(let code):
            events.yield(.relay(isUp: false, detail: "refused with code \(code.rawValue)"))
        case .roundTrip, .unknownDestination, .draining, nil: break
        }
    }

    mutating func pollSTUN(_ core: inout TunnelCore, now: MonotonicTime) {
        for action in stun.poll(now: now, using: &random) {
            switch action {
            case .send(let bytes, let server): core.sendRaw(bytes, to: server)
            case .failed(let server, _):
                mapped[server] = nil
                refreshCandidates(&core, now: now)
            }
        }
    }

    mutating func receivedSTUN(
        _ datagram: RawSpan, from source: Endpoint, _ core: inout TunnelCore, now: MonotonicTime
    ) {
        guard case .mapped(let mapping) = stun.receive(datagram, from: source, now: now) else { return }
        note(mapping: mapping.mapped, by: mapping.server, &core, now: now)
    }

    private mutating func note(
        mapping: Endpoint, by server: Endpoint, _ core: inout TunnelCore, now: MonotonicTime
    ) {
        // Where nobody may send, a server's word does not make a candidate of it.
        guard mapped[server] != mapping, !TargetPolicy(meshRanges: meshRanges).refuses(mapping) else { return }
        mapped[server] = mapping
        events.yield(.mapped(mapping))
        refreshCandidates(&core, now: now)
    }

    /// The underlay's own addresses changed.
    mutating func setHostAddresses(_ addresses: [IPAddress], _ core: inout TunnelCore, now: MonotonicTime) {
        let port = core.port
        let candidates = addresses.map { Candidate(.host, Endpoint($0, port: port)) }
        guard candidates != hostCandidates else { return }
        hostCandidates = candidates
        stun.refresh(now: now)
        refreshCandidates(&core, now: now)
    }

    mutating func refreshCandidates(_ core: inout TunnelCore, now: MonotonicTime) {
        let hosts = Set(hostCandidates.map(\.endpoint))
        let reflexive = Set(mapped.values).subtracting(hosts).sorted().map { Candidate(.serverReflexive, $0) }
        // What works across NATs comes first: the list is cut at eight.
        engine.setLocalCandidates(portMappedCandidates + reflexive + hostCandidates, now: now)
        perform(&core, now: now)
    }
}
