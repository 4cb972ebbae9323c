import Addressing
import Control
import DNS
import Directory
import Glibc
import Linux
import Logging
import Membership
import NameService
import Netlink
import Synchronization
import Timing
import Tunnel

/// The pod's names: a name server on the resolver's addresses, which asks the directory for those of the mesh.
///
/// It serves from the start: what is not the mesh's is answered before the agent has joined, its hub's name among it.
final class PodNames: Sendable {
    let server: NameServer
    private let questions: AsyncStream<MeshKey>
    private let logger: Logger

    /// Nil, with a line that says why, where the pod has no address for it.
    static func open(_ configuration: SidecarConfiguration, mesh: String, logger: Logger) -> PodNames? {
        let addresses = resolverAddresses()
        guard !addresses.isEmpty else {
            logger.info(
                "no DNS in this pod: lo has no \(ResolverAddress.ipv4), which warren-cni adds unless told not to")
            return nil
        }
        let name = configuration.domain.isEmpty ? MeshZone.defaultDomain(ofMesh: mesh) : configuration.domain
        guard let domain = DomainName(name) else {
            logger.error("no DNS in this pod: \(name) is no domain")
            return nil
        }
        let upstreams =
            configuration.upstreams.isEmpty ? configuredServers(besides: addresses) : configuration.upstreams
        do { return try PodNames(addresses, domain, upstreams, logger) } catch {
            logger.error(
                "no DNS in this pod: \(error); warren-cni sets net.ipv4.ip_unprivileged_port_start, and Linux 5.7 is needed"
            )
            return nil
        }
    }

    private init(
        _ addresses: [IPAddress], _ domain: DomainName, _ upstreams: [Endpoint], _ logger: Logger
    ) throws(SystemError) {
        let (questions, sink) = AsyncStream<MeshKey>.makeStream(bufferingPolicy: .bufferingOldest(1024))
        server = try NameServer(at: addresses, domain: domain, upstreams: upstreams) { sink.yield($0) }
        self.questions = questions
        self.logger = logger
        let others = upstreams.isEmpty ? "nobody: give --dns-upstream" : "\(upstreams)"
        logger.info("DNS for \(domain) at \(addresses); all else from \(others)")
    }

    /// Serves until the task is cancelled. What makes it fail ends no tunnel.
    func serve(_ run: AgentRun) async {
        await withDiscardingTaskGroup { group in
            group.addTask {
                if let error = await self.runThread() { self.logger.error("DNS has ended: \(error)") }
            }
            for await key in questions {
                group.addTask { self.server.resolved(key, await self.lookUp(key, run)) }
            }
            group.cancelAll()
        }
    }

    private func runThread() async -> SystemError? {
        let server = server
        return await withTaskCancellationHandler {
            await withCheckedContinuation { (continuation: CheckedContinuation<SystemError?, Never>) in
                do throws(SystemError) {
                    _ = try Thread(named: "warren-dns") { continuation.resume(returning: server.serve()) }
                } catch { continuation.resume(returning: error) }
            }
        } onCancel: {
            server.stop()
        }
    }

    /// The agent has joined: the mesh's ranges are known.
    func joined(_ ranges: [IPPrefix]) { server.setRanges(ranges) }

    /// Whether the directory can be asked.
    func setConnected(_ isConnected: Bool) { server.setConnected(isConnected) }

    /// The directory pushed a newer record.
    func updated(_ record: VerifiedRecord) {
        let outcome = Self.outcome([record])
        server.updated(.agent(record.credential.name), outcome)
        for address in record.credential.addresses { server.updated(.address(address), outcome) }
    }

    var report: DNSReport {
        let report = server.report
        let queries = report.counters.all.filter { $0.count > 0 }
        return DNSReport(
            domain: server.domain.description, resolvers: server.addresses.map(\.description),
            upstreams: server.upstreams.map(\.description), upstreamsDown: report.upstreamsDown,
            queries: Dictionary(uniqueKeysWithValues: queries.map { ($0.outcome, $0.count) }))
    }

    // MARK: Lookups

    private func lookUp(_ key: MeshKey, _ run: AgentRun) async -> MeshOutcome {
        guard let joined = run.joined.withLock({ $0 }) else { return .failed }
        do throws(DirectoryError) {
            switch key {
            case .group(let text):
                guard let group = GroupName(text) else { return .nobody }
                return Self.outcome(try await joined.directory.members(of: group))
            case .agent(let name):
                if let own = run.status.now.credential, own.name == name {
                    return Self.outcome(own, run.configuration.services)
                }
                return Self.outcome(try await joined.directory.lookup(.name(name)).map { [$0] } ?? [])
            case .address(let address):
                if let own = run.status.now.credential, own.addresses.contains(address) {
                    return Self.outcome(own, run.configuration.services)
                }
                return Self.outcome(try await joined.directory.lookup(.address(address)).map { [$0] } ?? [])
            }
        } catch {
            switch error {
            case .invalidRecord, .protocolViolation:
                logger.warning("look up \(key) for DNS: \(error)")
                return .invalid
            default: return await known(key, joined)
            }
        }
    }

    /// What the tunnel knows of those that it talks to, while the directory is away.
    private func known(_ key: MeshKey, _ joined: AgentRun.Joined) async -> MeshOutcome {
        let record = await joined.tunnel.ask { _, peering in
            peering.peers.values.first { peer in
                switch key {
                case .agent(let name): peer.name == name
                case .address(let address): peer.record.credential.addresses.contains(address)
                case .group: false
                }
            }?.record
        }
        return (record ?? nil).map { Self.outcome([$0]) } ?? .failed
    }

    private static func outcome(_ records: [VerifiedRecord]) -> MeshOutcome {
        guard !records.isEmpty else { return .nobody }
        let hosts = records.map { record in
            host(record.credential, record.announcement.services)
        }
        let end = records.map { min($0.credential.expires, $0.announcement.expires) }.min() ?? .now()
        return .hosts(hosts, until: monotonic(end))
    }

    private static func outcome(_ own: Credential, _ services: [AgentService]) -> MeshOutcome {
        .hosts([host(own, services)], until: monotonic(own.expires))
    }

    private static func host(_ credential: Credential, _ services: [AgentService]) -> MeshHost {
        MeshHost(
            name: credential.name, addresses: credential.addresses,
            services: services.map { .init(.init(name: $0.name, transport: $0.transport), number: $0.port) })
    }

    private static func monotonic(_ end: WallTime) -> MonotonicTime {
        // What says that it lives for years is asked for anew long before.
        let rest = min(end.seconds + Credential.leeway - WallTime.now().seconds, 10 * Credential.lifetime)
        return MonotonicTime.now() + Interval.seconds(UInt64(clamping: rest))
    }

    // MARK: The pod

    private static func resolverAddresses() -> [IPAddress] {
        guard var socket = try? RouteSocket(), let lo = try? socket.link(named: "lo"),
            let addresses = try? socket.addresses(on: lo)
        else { return [] }
        return addresses.map(\.prefix.address).filter(ResolverAddress.isOne).sorted()
    }

    private static func configuredServers(besides ours: [IPAddress]) -> [Endpoint] {
        let text = try? FileDescriptor(open: "/etc/resolv.conf", O_RDONLY).readToEnd(limit: 65536)
        return ServerList.servers(inResolvConf: String(decoding: text ?? [], as: UTF8.self), besides: ours)
    }
}
