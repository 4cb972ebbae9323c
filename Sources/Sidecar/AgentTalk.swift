import Addressing
import Directory
import Linux
import Logging
import Membership
import Sodium
import Timing
import Tunnel

/// What the tunnel and the hub tell each other, once the agent has joined.
struct AgentTalk: Sendable {
    let run: AgentRun
    let tunnel: TunnelThread<Peering>
    let directory: DirectoryClient
    let mesh: MeshInfo
    let publicKey: X25519.PublicKey

    // MARK: From the directory

    func follow(_ events: AsyncStream<DirectoryEvent>) async {
        var wasAway = false
        for await event in events {
            switch event {
            case .connected:
                run.names?.setConnected(true)
                become(.accepted, "", announced: true)
                if wasAway { tunnel.perform { core, peering in peering.hubReturned(&core, now: .now()) } }
                wasAway = false
            case .disconnected(let error):
                wasAway = true
                run.names?.setConnected(false)
                become(.unreachable, "\(error)", announced: nil)
            case .update(let record):
                run.names?.updated(record)
                tunnel.perform { core, peering in
                    peering.updated(record, &core, now: .now(), wall: .now())
                }
            case .signal(let sender, let payload):
                tunnel.perform { core, peering in
                    peering.signalled(payload, by: sender, &core, now: .now())
                }
            case .undeliverable: break
            case .superseded(let known):
                await announce(run.status.now.credential, above: known)
            }
        }
    }

    private func become(_ hub: AgentStatus.Hub, _ detail: String, announced: Bool?) {
        let isReady = run.status.change { state in
            state.hub = hub
            state.hubDetail = detail
            if let announced { state.isAnnounced = announced }
        }
        if isReady { sayReady() }
    }

    private func sayReady() {
        let after = MonotonicTime.now().since(run.status.started)
        run.logger.notice(
            "ready after \(Int(after.milliseconds)) ms: \(run.status.now.name) at \(run.interfaceAddresses.map(\.description).joined(separator: " "))"
        )
    }

    // MARK: From the tunnel

    func follow(_ events: AsyncStream<PeeringEvent>) async {
        await withDiscardingTaskGroup { group in
            for await event in events { handle(event, &group) }
        }
    }

    private func handle(_ event: PeeringEvent, _ group: inout DiscardingTaskGroup) {
        let logger = run.logger
        switch event {
        case .lookUp(let address): group.addTask { await lookUp(address) }
        case .refresh(let id): group.addTask { await refresh(id) }
        case .forget(let id): group.addTask { await directory.forget(id) }
        case .signal(let id, let payload): group.addTask { try? await directory.signal(to: id, payload) }
        case .verified(let id):
            group.addTask {
                let name = await tunnel.ask { _, peering in peering.peers[id]?.name }
                guard let name = name ?? nil else { return }
                if run.status.change({ state in state.waitingFor.removeAll { $0 == name } }) { sayReady() }
            }
        case .path(_, let name, let path, let after):
            logger.info(
                "\(name): \(path.map(\.description) ?? "no path"), \(Int(after.milliseconds)) ms after it was learned")
        case .relay(let isUp, let detail): logger.info("relay \(isUp ? "up" : "down"): \(detail)")
        case .streamFailed(let reason): logger.info("no stream: \(reason)")
        case .rehomed: group.addTask { await announce(run.status.now.credential) }
        case .mapped(let endpoint):
            logger.info("seen from outside as \(endpoint)")
            run.status.change { state in
                let text = endpoint.description
                state.mapped.removeAll { $0 == text }
                state.mapped = Array((state.mapped + [text]).suffix(4))
            }
        }
    }

    /// Asks who has the address. While the hub is not connected, which is so right after the start, it asks again for as
    /// long as packets wait: "nobody has it" would be remembered for seconds.
    private func lookUp(_ address: IPAddress) async {
        let deadline = MonotonicTime.now() + Unresolved.holdTime
        var record: VerifiedRecord?
        while true {
            do {
                record = try await directory.lookup(.address(address))
                break
            } catch DirectoryError.disconnected where MonotonicTime.now() < deadline {
                guard (try? await Task.sleep(nanoseconds: 20_000_000)) != nil else { return }
            } catch {
                // The application gets an ICMP error, and the status says how the hub is: no line for each packet.
                run.logger.debug("look up \(address): \(error)")
                break
            }
        }
        let found = record
        tunnel.perform { core, peering in
            peering.resolved(address, found, &core, now: .now(), wall: .now())
        }
    }

    /// Takes over the newest record of a peer; the directory pushes those that follow.
    private func refresh(_ id: AgentID) async {
        guard let record = try? await directory.lookup(.id(id)) else { return }
        tunnel.perform { core, peering in peering.updated(record, &core, now: .now(), wall: .now()) }
    }

    // MARK: By the clock

    /// Publishes a fresh announcement and gives the tunnel the same, for introductions.
    func announce(_ credential: Credential?, above known: UInt64 = 0) async {
        guard let credential, !run.status.now.isDraining,
            let relays = await tunnel.ask({ _, peering in peering.announcedRelays })
        else { return }
        var known = known
        // A directory that calls everything outdated gets three attempts.
        for _ in 0..<3 {
            do {
                let announcement = try run.membership.announcement(
                    key: publicKey, relays: relays, services: run.configuration.services, above: known)
                let parts = [
                    Introduction.credential(Array(credential.text.utf8)),
                    Introduction.announcement(Array(announcement.text.utf8)),
                ].map { $0.encode() }
                tunnel.perform { _, peering in peering.introduction = parts }
                return try await directory.publish(announcement)
            } catch DirectoryError.staleSequence(let higher) {
                known = higher
            } catch DirectoryError.disconnected {
                // The client keeps the announcement and publishes it when it is connected.
                return
            } catch { return run.logger.warning("announce: \(error)") }
        }
        run.logger.error("announce: the directory has sequence \(known) of this agent, and wants more each time")
    }

    /// Renews the credential at half its life; while the hub is out of reach, again every minute.
    func renewals() async throws {
        while true {
            // Looked at again and again, not slept through: the wall clock may be set meanwhile.
            let due = run.status.now.credential?.renewal ?? .now()
            guard due <= .now() else {
                try await Task.sleep(
                    nanoseconds: UInt64(min(max(due.seconds - WallTime.now().seconds, 1), 30)) * 1_000_000_000)
                continue
            }
            do {
                try await renew()
            } catch {
                run.logger.warning("renew the credential: \(error); trying again in a minute")
                try await Task.sleep(nanoseconds: 60_000_000_000)
            }
            // Also where the authority gives credentials that are due at once.
            try await Task.sleep(nanoseconds: 1_000_000_000)
        }
    }

    private func renew() async throws {
        let admission = try await run.membership.renew(run.interfaceAddresses)
        try run.membership.store(admission.credential)
        run.status.change { $0.credential = admission.credential }
        let text = Array(admission.credential.text.utf8)
        tunnel.perform { _, peering in peering.renewed(text, now: .now()) }
        // The client keeps it also when this connection has just ended, and uses it on the next.
        do { try await directory.use(admission.credential) } catch { run.logger.info("directory: \(error)") }
        await announce(admission.credential)
        run.logger.info("credential renewed until \(admission.credential.expires.seconds)")
    }

    /// Gives memory back that is not used any more.
    func trimHeap() async throws {
        while true {
            try await Task.sleep(nanoseconds: 5_000_000_000)
            Heap.trim()
        }
    }

    /// Tells the tunnel the pod's other addresses, now and whenever they change.
    func watchUnderlay() async throws {
        var known: [IPAddress]?
        while true {
            let addresses = PodInterface.underlayAddresses(besides: run.configuration.interface)
            if addresses != known {
                known = addresses
                tunnel.perform { core, peering in peering.setHostAddresses(addresses, &core, now: .now()) }
            }
            try await Task.sleep(nanoseconds: 15_000_000_000)
        }
    }

    /// Looks required peers up and greets them until each handshake is verified.
    func greetRequired() async throws {
        while true {
            let waiting = run.status.now.waitingFor
            if waiting.isEmpty { return }
            if run.status.now.isAnnounced {
                for name in waiting {
                    guard let record = try? await directory.lookup(.name(name)) else { continue }
                    tunnel.perform { core, peering in peering.greet(record, &core, now: .now(), wall: .now()) }
                }
            }
            try await Task.sleep(nanoseconds: 500_000_000)
        }
    }
}
