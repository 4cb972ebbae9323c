import CLinux
import Glibc
import Linux
import Netlink
import Sodium
import Synchronization
import Timing
import Tun
import WireGuard

/// `warrend wireguard IFNAME`: a WireGuard interface in userspace that behaves as wireguard-go's does.
///
/// The interface may be moved to another namespace; the sockets stay where they were made. It ends when the interface is
/// deleted, on SIGTERM or SIGINT, or when the configuration socket is removed.
package enum WireGuardInterface {
    /// Creates the interface and serves it. In the background unless `foreground`; then this returns once it is up.
    package static func run(named name: String, foreground: Bool) throws {
        // A client of the configuration socket that goes away early is an error of its connection, not the end.
        _ = signal(SIGPIPE, SIG_IGN)
        try Libsodium.initialize()
        let tun: TunDevice
        if let descriptor = Daemon.inherited(Daemon.tunVariable) {
            tun = try TunDevice(adopting: FileDescriptor(owning: descriptor))
        } else {
            tun = try TunDevice.create(name)
            limitRuns(of: name)
        }
        let configuration: ConfigurationServer
        if let descriptor = Daemon.inherited(Daemon.configurationVariable) {
            configuration = ConfigurationServer(adopting: descriptor, interface: name)
        } else {
            configuration = try ConfigurationServer(interface: name)
        }
        guard foreground else {
            try Daemon.start(
                arguments: ["warrend", "wireguard", "-f", name], tun: tun.raw, configuration: configuration.raw)
            return
        }
        try serve(tun, configuration)
    }

    /// Costs only speed where the kernel refuses.
    private static func limitRuns(of name: String) {
        guard var socket = try? RouteSocket(), let link = try? socket.link(named: name) else { return }
        try? socket.set(maximumSegments: TunDevice.segmentsPerRun, on: link)
    }

    private static func serve(_ tun: consuming TunDevice, _ configuration: consuming ConfigurationServer) throws {
        // In the background the image was started as /proc/self/exe, and would show as "exe" to ps and ss.
        _ = unsafe CLinux_set_thread_name("warrend")
        // Who asks on the configuration socket may be gone before the answer: an error of that write, no reason to die.
        _ = signal(SIGPIPE, SIG_IGN)
        // Before any thread: all inherit the mask, and one waits for the signals.
        let signals = try SignalFD([SIGTERM, SIGINT])
        let offloads = tun.enableOffloads(OffloadSwitches.chosen.tun)
        let mtu = tun.mtu ?? 1420
        let device = Device(random: SecureRandom())
        var core = try TunnelCore(device: device, tun: tun, offloads: offloads, mtu: mtu)
        try core.bind(port: 0)
        let tunnel = try TunnelThread(core, StockPolicy())
        let (socketPath, socketDescriptor) = (configuration.path, configuration.raw)

        _ = try Thread(named: "wg-signals") {
            guard let epoll = try? Epoll(), (try? epoll.add(signals.raw, .read, token: 0)) != nil else { return }
            while signals.next() == nil { _ = try? epoll.wait(timeout: nil) }
            tunnel.stop()
        }
        let server = ServerBox(configuration)
        let answers = try Thread(named: "wg-config") {
            server.value.withLock { $0.take() }?.run { request in
                let text = tunnel.askAndWait { core, _ in DeviceConfiguration.answer(request, &core) }
                return text ?? DeviceConfiguration.refusal(.noDevice)
            }
            // The socket is gone: nobody could configure the interface any more.
            tunnel.stop()
        }
        Daemon.reportReady()
        let failure = tunnel.run()
        ConfigurationServer.stop(descriptor: socketDescriptor, path: socketPath)
        answers.join()
        // A deleted interface is how it is meant to end.
        if let failure, failure.errno != .badDescriptor, failure.errno != Errno(EBADF) { throw failure }
    }

    private final class ServerBox: Sendable {
        let value: Mutex<ConfigurationServer?>
        init(_ server: consuming ConfigurationServer) { value = Mutex(server) }
    }
}
