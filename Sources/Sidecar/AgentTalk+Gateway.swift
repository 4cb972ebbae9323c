import Addressing
import Directory
import Gather
import Linux
import Logging
import PortMapping
import STUN
import Timing
import Traversal
import Tunnel

// A port of the gateway, forwarded to the tunnel's.

extension Peering {
    /// The gateway forwards another endpoint now, or none.
    ///
    /// An address that is not public is that of a NAT behind another one: nobody outside reaches it.
    mutating func setPortMapped(_ endpoint: Endpoint?, _ core: inout TunnelCore, now: MonotonicTime) {
        let usable = endpoint.flatMap { endpoint in
            TargetPolicy(meshRanges: meshRanges).refuses(endpoint) || endpoint.address.isPrivate ? nil : endpoint
        }
        guard usable != portMapped else { return }
        portMapped = usable
        refreshCandidates(&core, now: now)
    }

    var portMappedCandidates: [Candidate] { portMapped.map { [Candidate(.portMapped, $0)] } ?? [] }
}

extension AgentTalk {
    /// Keeps a port mapped at the default gateway, and again at the next one when that changes; gives it up at the end.
    /// What fails is tried again, and ends nothing else.
    func keepPortMapped() async throws {
        guard let port = await tunnel.ask({ core, _ in core.port }) else { return }
        while true {
            if let gateway = Self.gateway {
                do { try await keepPort(port, mappedAt: gateway) } catch is CancellationError {
                    throw CancellationError()
                } catch { run.logger.debug("port mapping: \(error)") }
            }
            try await Task.sleep(nanoseconds: Self.lookInterval)
        }
    }

    /// Returns when the gateway is another one.
    private func keepPort(_ port: UInt16, mappedAt gateway: DefaultGateway) async throws {
        let (run, tunnel) = (run, tunnel)
        let session = try GatewaySession(gateway, internalPort: port, .map) { mapped in
            let external = mapped?.external
            run.logger.info(
                "port mapping: \(mapped.map { "\($0.source.rawValue) gives \($0.external)" } ?? "none any more")")
            run.status.change { $0.portMapped = external?.description ?? "" }
            tunnel.perform { core, peering in peering.setPortMapped(external, &core, now: .now()) }
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await Self.work(session) }
            group.addTask {
                while Self.gateway == gateway { try await Task.sleep(nanoseconds: Self.lookInterval) }
            }
            defer { group.cancelAll() }
            try await group.next()
        }
    }

    /// Looks at the NAT from sockets beside the tunnel's, now and after each change of the addresses.
    func watchNAT() async throws {
        let servers = mesh.stun.filter { !$0.address.isIPv6 }
        let ranges = mesh.ranges
        var known: [IPAddress]?
        while !servers.isEmpty {
            let addresses = PodInterface.underlayAddresses(besides: run.configuration.interface)
            if addresses != known {
                if let server = servers.first {
                    let depth = try? await Self.onThread { try NATDepth.measure(toward: server) }
                    tunnel.perform { _, peering in peering.engine.setNATDepth(depth) }
                }
                let report = try? await Self.onThread {
                    try BehaviorProbe.run(servers: servers, hostAddresses: addresses, refusedTargets: ranges)
                }
                if let report {
                    known = addresses
                    run.status.change { $0.nat = report.description }
                }
            }
            try await Task.sleep(nanoseconds: Self.lookInterval)
        }
    }

    private static let lookInterval: UInt64 = 15_000_000_000
    private static var gateway: DefaultGateway? { (try? DefaultGateway.find()) ?? nil }

    private static func work(_ session: GatewaySession) async throws {
        try await withTaskCancellationHandler {
            try await onThread { try session.run() }
        } onCancel: {
            session.stop()
        }
    }

    private static func onThread<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value
    {
        try await withCheckedThrowingContinuation { continuation in
            do throws(SystemError) {
                _ = try Thread(named: "warren-gather") { continuation.resume(with: Result { try body() }) }
            } catch { continuation.resume(throwing: error) }
        }
    }
}
