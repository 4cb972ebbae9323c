import Addressing
import Handover
import Linux
import Netlink
import Timing
import Tun

/// The ways to the descriptor of the pod's TUN, in their order:
///
/// 1. `/dev/net/tun`, if the container has it: the kernel lets the interface's owner attach without any capability.
/// 2. The node's agent, over an abstract socket in the pod's network namespace: needs nothing in the container at all.
/// 3. Making the interface, where there is no plugin: needs `/dev/net/tun`, CAP_NET_ADMIN, and addresses, which no plugin
///    has chosen, so they must be configured.
///
/// Where none leads anywhere, one refusal names each with what the kernel or the agent said.
struct TunSource {
    let name: String
    /// Addresses for an interface of our own; empty to make none.
    let own: [IPPrefix]

    /// The device, and the way it came.
    struct Opened: ~Copyable {
        let tun: TunDevice
        let origin: String

        consuming func takeTun() -> TunDevice { tun }
    }

    /// How long a way that may open is tried: the agent restarts, or the process before us still holds the interface.
    static let patience = Interval.seconds(5)
    private static let pause = Interval.milliseconds(250)

    func open() async throws(SidecarError) -> Opened {
        guard try exists() else { return Opened(tun: try make(), origin: "made here") }
        let deadline = MonotonicTime.now() + Self.patience
        while true {
            let direct: TunError
            do { return Opened(tun: try TunDevice.attach(name), origin: "/dev/net/tun") } catch { direct = error }
            let handed: HandoverError
            do {
                return Opened(tun: try HandoverClient.receive(name), origin: "the node's agent")
            } catch { handed = error }
            let mayOpen = handed.isWorthAnotherAttempt || direct == .held(name)
            guard mayOpen, MonotonicTime.now() < deadline, !Task.isCancelled else {
                throw .device(
                    """
                    no way to the TUN \(name): \(direct); from the node's agent (warren-node): \(handed); making one \
                    ourselves: not with warren-cni's interface there. Give the container /dev/net/tun, or run warren-node \
                    on the node
                    """)
            }
            try? await Task.sleep(nanoseconds: Self.pause.nanoseconds)
        }
    }

    private func exists() throws(SidecarError) -> Bool {
        do {
            var socket = try RouteSocket()
            return try socket.link(named: name) != nil
        } catch { throw .device("find interface \(name): \(error)") }
    }

    /// An interface of our own. It goes when this process does.
    private func make() throws(SidecarError) -> TunDevice {
        guard !own.isEmpty else {
            throw .noInterface(
                """
                interface \(name): not in this network namespace; warren-cni makes it when the pod is added: is the plugin in \
                the network's configuration? Without plugin, give the addresses (--address), /dev/net/tun and NET_ADMIN
                """)
        }
        let tun: TunDevice
        do { tun = try TunDevice.create(name) } catch {
            throw .device("no plugin made \(name), and neither can we: \(error)")
        }
        do {
            var socket = try RouteSocket()
            guard let link = try socket.link(named: name) else { throw TunError.noSuchInterface(name) }
            try socket.set(mtu: UInt32(PodInterface.provenPathLimit), on: link)
            try? socket.set(maximumSegments: TunDevice.segmentsPerRun, on: link)
            try socket.disableLinkLocalAddress(on: link)
            // The prefix's length makes the route to the mesh.
            for prefix in own { try socket.add(prefix, to: link) }
            try socket.setUp(link)
        } catch { throw .device("set up \(name): \(error)") }
        return tun
    }
}
