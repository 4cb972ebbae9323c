import Directory
import Logging
import Synchronization
import Timing
import Tunnel

// The end of a run that loses nobody's connection.
extension AgentRun {
    /// A moment in which nothing has gone either way, when no connection is open: what closed it has arrived.
    private static let silence = Interval.milliseconds(300)
    /// Open connections on which nothing has gone for this long are not waited for.
    private static let idle = Interval.seconds(10)
    /// What the directory gets to answer.
    private static let goodbye = Interval.milliseconds(500)

    /// Has nobody new led here, and returns when what goes through the mesh has ended or is idle, or `drain` is over.
    ///
    /// Peers that know this agent are told nothing: their connections, and those that they open until the application
    /// refuses them, are carried as before.
    func drain() async {
        let start = MonotonicTime.now()
        status.change { $0.isDraining = true }
        guard let joined = joined.withLock({ $0 }) else { return }
        logger.info("ending: waiting up to \(configuration.drain.seconds) s for connections through the mesh")
        async let withdrawal: Void = withdraw(joined)
        let connections = await carryUntilIdle(joined.tunnel, until: start + configuration.drain)
        await withdrawal
        let seconds = MonotonicTime.now().since(start).seconds
        logger.info("ending: waited \(seconds) s; \(connections) connections are open")
    }

    private func withdraw(_ joined: Joined) async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                // Without a hub, records end by themselves.
                do { try await joined.directory.withdraw() } catch { self.logger.info("withdraw: \(error)") }
            }
            group.addTask { try? await Task.sleep(nanoseconds: Self.goodbye.nanoseconds) }
            await group.next()
            group.cancelAll()
        }
    }

    /// Returns how many connections are open then.
    private func carryUntilIdle(_ tunnel: TunnelThread<Peering>, until deadline: MonotonicTime) async -> Int {
        while true {
            let now = MonotonicTime.now()
            let connections = OpenConnections.count(at: interfaceAddresses)
            let quiet = now.since(max(tunnel.sent.lastMoved, tunnel.received.lastMoved))
            if quiet >= (connections == 0 ? Self.silence : Self.idle) || now >= deadline { return connections }
            do { try await Task.sleep(nanoseconds: 50_000_000) } catch { return connections }
        }
    }
}
