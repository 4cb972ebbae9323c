import Addressing
import Control
import Directory
import Glibc
import Linux
package import Logging
import Membership
import Sodium

/// The sidecar: one agent of a mesh, from its start to SIGTERM.
///
/// Order: state folder and identity, token, device, join, tunnel, directory; each step that can't be done is one error that
/// says what to do. Control is structured concurrency; packets have a thread of their own (`TunnelThread`).
package struct Agent: Sendable {
    private let configuration: SidecarConfiguration
    private let logger: Logger

    package init(_ configuration: SidecarConfiguration, logger: Logger) {
        self.configuration = configuration
        self.logger = logger
    }

    /// Runs until SIGTERM, SIGINT or `leave`, and returns; throws `SidecarError` when it can't go on.
    package func run() async throws {
        ProcessHardening.forbidDumps()
        let signals: SignalWaiter
        do { signals = try SignalWaiter([SIGTERM, SIGINT]) } catch { throw SidecarError.state("\(error)") }
        do { try Libsodium.initialize() } catch { throw SidecarError.state("\(error)") }
        let proxies: ProxyRules
        do { proxies = try ProxyRules.inEnvironment() } catch { throw SidecarError.configuration("\(error)") }
        let folder = try StateFolder(path: configuration.stateFolder)
        let identity = try folder.identity()
        let membership = try AgentMembership(
            joinMethod(), folder: folder, identity: identity, name: configuration.name, proxies: proxies,
            logger: logger)
        let device = try await PodInterface.attach(configuration.interface, own: configuration.ownAddresses)
        let slabs = SecretSlab.shared.report
        logger.info(
            """
            agent \(identity.id) on \(configuration.interface) (from \(device.origin)): \(device.addresses.map(\.description).joined(separator: " ")), \
            mtu \(device.mtu), offloads \(device.offloads), \
            secrets locked in memory: \(slabs.locked == slabs.slabs ? "yes" : "no, RLIMIT_MEMLOCK is too low")
            """)
        let status = AgentStatus(identity: identity, requiredPeers: configuration.requiredPeers)
        let names = PodNames.open(configuration, mesh: membership.mesh, logger: logger)
        let run = AgentRun(configuration, membership, status, identity, device, proxies, logger, names)
        let control = ControlServer(
            path: configuration.controlSocket, group: HubLink.group, answer: { await run.answer($0) },
            answered: { request, answer in
                if request == .leave, answer.error == nil { run.stop() }
            })
        let path = configuration.controlSocket
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await Self.waitForEnd(signals, run) }
            if let listen = configuration.metricsListen {
                group.addTask { try await HealthPort(listen, run).run() }
            }
            group.addTask {
                do { try await control.run() } catch is CancellationError {
                } catch { throw SidecarError.configuration("serve the local API on \(path): \(error)") }
            }
            group.addTask { try await run.carry() }
            if let names { group.addTask { await names.serve(run) } }
            group.addTask { await run.waitUntilLeft() }
            // The first to end, in whichever way, ends the others.
            defer { group.cancelAll() }
            try await group.next()
        }
        _ = unsafe unlink(path)
        logger.info("stopped")
    }

    private func joinMethod() throws(SidecarError) -> JoinMethod {
        guard let account = configuration.account else { return .token(try readToken()) }
        return .account(AccountTokenFile(path: account.tokenFile), account.hub)
    }

    /// SIGINT ends at once; SIGTERM when what goes through the mesh has ended, or when it comes again.
    private static func waitForEnd(_ signals: SignalWaiter, _ run: AgentRun) async {
        guard await signals.next() == SIGTERM else { return }
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await run.drain() }
            group.addTask { _ = await signals.next() }
            await group.next()
            group.cancelAll()
        }
    }

    private func readToken() throws(SidecarError) -> JoinToken {
        let file = configuration.tokenFile
        var bytes: [UInt8]
        do { bytes = try FileDescriptor(open: file, O_RDONLY).readToEnd(limit: 4096) } catch {
            throw .configuration("read the join token: \(error); make one with `warren-hub token create`")
        }
        defer { unsafe bytes.withUnsafeMutableBytes { unsafe wipe($0) } }
        let text = String(decoding: bytes, as: UTF8.self).filter { !$0.isWhitespace }
        do { return try JoinToken(text) } catch {
            throw .configuration("join token in \(file): \(error); make one with `warren-hub token create`")
        }
    }
}
