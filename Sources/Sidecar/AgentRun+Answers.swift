import Addressing
import Control
import Directory
import Membership
import Netcheck
import Sodium
import Synchronization
import Timing
import Tunnel
import WireGuard

// What the local API answers.
extension AgentRun {
    func answer(_ request: ControlRequest) async -> ControlAnswer {
        switch request {
        case .status: return ControlAnswer(status: await statusReport())
        case .peers: return ControlAnswer(peers: await peerReports())
        case .whois(let text):
            guard let address = IPAddress(text) else { return ControlAnswer(error: "whois \(text): not an address") }
            return await identify(.address(address), text)
        case .resolve(let name): return await identify(.name(name), name)
        case .netcheck: return ControlAnswer(netcheck: await netcheck())
        case .live:
            guard let thread = await joined.withLock({ $0 })?.tunnel.stalledThread() else { return ControlAnswer() }
            return ControlAnswer(error: "not alive: thread \(thread) is stuck")
        case .leave:
            do {
                try await leave()
                return ControlAnswer()
            } catch { return ControlAnswer(error: "leave: \(error)") }
        }
    }

    private func identify(_ key: Message.LookupKey, _ subject: String) async -> ControlAnswer {
        guard let joined = joined.withLock({ $0 }) else {
            return ControlAnswer(error: "look up \(subject): not joined yet")
        }
        // What is known already needs no hub.
        let known = await joined.tunnel.ask { _, peering in
            peering.peers.values.first { peer in
                switch key {
                case .address(let address): peer.record.credential.addresses.contains(address)
                case .name(let name): peer.name == name
                case .id(let id): peer.id == id
                }
            }?.record.credential
        }
        var credential = known ?? nil
        let own = status.now.credential
        if credential == nil, let own {
            switch key {
            case .address(let address) where own.addresses.contains(address): credential = own
            case .name(own.name): credential = own
            default: break
            }
        }
        if credential == nil {
            do { credential = try await joined.directory.lookup(key)?.credential } catch {
                return ControlAnswer(error: "look up \(subject): \(error)")
            }
        }
        guard let credential else { return ControlAnswer(error: "\(subject): no agent of this mesh") }
        return ControlAnswer(
            identity: IdentityReport(
                name: credential.name, id: credential.id.description,
                addresses: credential.addresses.map(\.description),
                subject: credential.subject))
    }

    private func statusReport() async -> StatusReport {
        let state = status.now
        let joined = joined.withLock { $0 }
        let slabs = SecretSlab.shared.report
        let asked = await joined?.tunnel.ask { core, peering in
            (port: core.port, drops: peering.drops(core), relays: peering.relayReports)
        }
        let tunnel = asked ?? nil
        let home = tunnel?.relays.first { $0.role == "home" }
        let expires = state.credential.map { $0.expires.seconds - WallTime.now().seconds } ?? 0
        return StatusReport(
            name: state.name, mesh: membership.mesh, id: identity.id.description,
            addresses: interfaceAddresses.map(\.description), hub: state.hub.rawValue, hubDetail: state.hubDetail,
            ready: state.isReady, waitingFor: state.waitingFor, publicKey: joined?.publicKey.base64 ?? "",
            listenPort: tunnel?.port ?? 0, mapped: state.mapped, nat: state.nat, portMapped: state.portMapped,
            relay: home?.address ?? "", relayUp: home?.state == "up", relays: tunnel?.relays ?? [],
            credentialExpiresInSeconds: expires,
            uptimeSeconds: MonotonicTime.now().since(status.started).seconds, drops: tunnel?.drops ?? [:],
            secretSlabs: slabs.slabs, lockedSecretSlabs: slabs.locked,
            dns: names?.report)
    }

    /// From the pod, with the relays that the authority has named; without a hub only with what the token says.
    private func netcheck() async -> NetcheckReport {
        let mesh = joined.withLock { $0 }?.mesh
        let relays = (mesh?.relays ?? []).map { MeshPlaces.Relay(id: $0.id.description, udp: $0.endpoints) }
        let places = MeshPlaces(relays: relays, stun: mesh?.stun ?? [], refusedTargets: mesh?.ranges ?? [])
        let proxy = ProxyAddress.inEnvironment.flatMap { ProxyAddress($0) }
        let (address, pin) = membership.authority
        return await NetworkCheck(hub: .init(address: address, pin: pin), places: places, proxy: proxy).run()
    }

    private func peerReports() async -> [PeerReport] {
        guard let joined = joined.withLock({ $0 }) else { return [] }
        return await joined.tunnel.ask { core, peering in peering.reports(core, wall: .now()) } ?? []
    }
}
