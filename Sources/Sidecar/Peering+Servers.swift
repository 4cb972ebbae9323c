import Addressing
import Membership
import Relay
import Timing
import Traversal
import Tunnel

// The relay and the STUN servers, on the tunnel's own socket.
extension Peering {
    /// The paths to the agent of `record` through those of its home relays that are of the mesh's, in its order.
    ///
    /// The endpoints are those that the authority gave us, never those in the record: an agent must not be able to make
    /// others send to an address of its choice.
    func relayPaths(for record: VerifiedRecord) -> [Path] {
        record.announcement.relays.compactMap { home in
            relays.firstIndex { $0.id == home.id }.map { .relayed(relay: UInt8($0), record.id) }
        }
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
                return RelayRoute(endpoint: client.relay, prefix: prefix)
            }
            events.yield(.relay(isUp: true, detail: "\(client.relay)"))
            // The relay sees the same socket as STUN does.
            if let roundTrip = client.roundTrip { engine.setRelayRoundTrip(roundTrip) }
            engine.observed(observed, by: client.relay, now: now)
            self.perform(&core, now: now)
        case .down(let reason):
            events.yield(.relay(isUp: false, detail: "\(reason)"))
        case .refused(let code):
            events.yield(.relay(isUp: false, detail: "refused with code \(code.rawValue)"))
        case .roundTrip(let interval): engine.setRelayRoundTrip(interval)
        case .unknownDestination, .draining, nil: break
        }
    }

    /// The underlay's own addresses changed.
    mutating func setHostAddresses(_ addresses: [IPAddress], _ core: inout TunnelCore, now: MonotonicTime) {
        let port = core.port
        hostCandidates = addresses.map { Candidate(.host, Endpoint($0, port: port)) }
        refreshCandidates(&core, now: now)
    }

    mutating func refreshCandidates(_ core: inout TunnelCore, now: MonotonicTime) {
        engine.setLocalCandidates(portMappedCandidates + hostCandidates, now: now)
        perform(&core, now: now)
    }
}
