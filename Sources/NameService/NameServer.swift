package import Addressing
package import DNS
package import Linux
import Synchronization
import Timing

/// A pod's name server: sockets on the resolver's addresses, and one thread that serves them.
///
/// `serve` blocks its thread until `stop`; everything else may be called from any.
package final class NameServer: Sendable {
    package static let port: UInt16 = 53

    package let addresses: [Endpoint]
    package let domain: DomainName
    package let upstreams: [Endpoint]
    /// Names of the mesh that somebody asked for, to be answered by `resolved`.
    private let lookUp: @Sendable (MeshKey) -> Void
    private let wake: EventFD
    private let listeners: Mutex<[Listener]>
    private let shared: Mutex<Shared>

    struct Listener: Sendable {
        let endpoint: Endpoint
        let udp: Int32
        let tcp: Int32
    }

    private struct Shared {
        var notes: [Note] = []
        var isStopped = false
        var report = Report()
    }

    /// What other threads have to say.
    enum Note: Sendable {
        case resolved(MeshKey, MeshOutcome)
        case updated(MeshKey, MeshOutcome)
        case connected(Bool)
        case ranges([IPPrefix])
    }

    package struct Report: Sendable {
        package var counters = ResolverCounters()
        package var streams = 0
        package var upstreamsDown = false

        package init() {}
    }

    /// Binds; nothing is answered before `serve`.
    ///
    /// - Parameters:
    ///   - device: whose packets alone are taken; nil for any.
    ///   - port: 53, but for tests; 0 is none.
    package init(
        at addresses: [IPAddress], port: UInt16 = port, on device: String? = "lo", domain: DomainName,
        upstreams: [Endpoint], lookUp: @escaping @Sendable (MeshKey) -> Void
    ) throws(SystemError) {
        self.addresses = addresses.map { Endpoint($0, port: port) }
        self.domain = domain
        self.upstreams = upstreams
        self.lookUp = lookUp
        wake = try EventFD()
        var listeners: [Listener] = []
        do throws(SystemError) {
            for endpoint in self.addresses {
                let udp = try InternetSocket.serving(.udp, at: endpoint, on: device)
                let tcp = try InternetSocket.serving(.tcp, at: endpoint, on: device)
                listeners.append(Listener(endpoint: endpoint, udp: udp.release(), tcp: tcp.release()))
            }
        } catch {
            Self.close(listeners)
            throw error
        }
        self.listeners = Mutex(listeners)
        shared = Mutex(Shared())
    }

    deinit { Self.close(listeners.withLock { $0 }) }

    private static func close(_ listeners: [Listener]) {
        for listener in listeners { for raw in [listener.udp, listener.tcp] { _ = FileDescriptor(owning: raw) } }
    }

    /// Serves until `stop`. Returns what made it end before.
    package func serve() -> SystemError? {
        do throws(SystemError) {
            var loop = try NameLoop(
                listeners.withLock { $0 }, wake: wake.raw,
                resolver: Resolver(
                    zone: MeshZone(domain: domain), upstreams: upstreams, now: .now(),
                    random: {
                        var random = SystemRandomNumberGenerator()
                        return random.next()
                    }),
                lookUp: lookUp)
            while try loop.turn(takeNotes: takeNotes) { publish(loop.report) }
            return nil
        } catch { return error }
    }

    package func stop() {
        shared.withLock { $0.isStopped = true }
        wake.signal()
    }

    package func resolved(_ key: MeshKey, _ outcome: MeshOutcome) { note(.resolved(key, outcome)) }
    /// News of a name that counts only if it was asked for before.
    package func updated(_ key: MeshKey, _ outcome: MeshOutcome) { note(.updated(key, outcome)) }
    /// Whether the directory can be asked.
    package func setConnected(_ isConnected: Bool) { note(.connected(isConnected)) }
    package func setRanges(_ ranges: [IPPrefix]) { note(.ranges(ranges)) }

    package var report: Report { shared.withLock { $0.report } }

    private func note(_ note: Note) {
        shared.withLock { $0.notes.append(note) }
        wake.signal()
    }

    /// Nil when it is time to stop.
    private func takeNotes() -> [Note]? {
        wake.drain()
        return shared.withLock { shared in
            defer { shared.notes = [] }
            return shared.isStopped ? nil : shared.notes
        }
    }

    private func publish(_ report: Report) { shared.withLock { $0.report = report } }
}
