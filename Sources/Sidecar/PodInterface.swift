import Addressing
import Handover
import Linux
import Netlink
import Tun
import Tunnel

/// The TUN device that the CNI plugin made, and what the pod's namespace looks like. Reading needs no privilege.
enum PodInterface {
    struct Device: ~Copyable {
        let tun: TunDevice
        let offloads: TunOffloads
        let addresses: [IPAddress]
        let mtu: Int
        /// Where the descriptor came from, for the log.
        let origin: String
        /// What the plugin says of a port of the node that leads to this pod.
        let nodePort: NodePortHint?

        /// The descriptor, to hand to the tunnel.
        consuming func takeTun() -> TunDevice { tun }
    }

    /// What every path carries: 1500 less IPv6 and UDP (48), WireGuard (32) and a relay header (20). More would have to be
    /// proven path by path, however large the pod's interface is.
    static let provenPathLimit = 1400

    /// Gets the device: the plugin's if there is one, else one of our own making where addresses for it are configured.
    /// Refuses one that is not ready: without an address, or down.
    ///
    /// - Parameter own: the addresses of an interface of our own, each with the length of the mesh's prefix; for pods
    ///   without plugin, which then need CAP_NET_ADMIN.
    static func attach(_ name: String, own: [IPPrefix]) async throws(SidecarError) -> Device {
        let wanted = TunSource(name: name, own: own)
        let opened = try await wanted.open()
        let origin = opened.origin
        let tun = opened.takeTun()
        do {
            var socket = try RouteSocket()
            guard let link = try socket.link(named: name) else { throw TunError.noSuchInterface(name) }
            let addresses = try socket.addresses(on: link).map(\.prefix.address).filter { !$0.isRefusedAsTarget }
                .sorted()
            guard !addresses.isEmpty else {
                throw SidecarError.noInterface(
                    "interface \(name): has no virtual address; delete the pod so that warren-cni makes it anew")
            }
            let offloads = tun.enableOffloads(OffloadSwitches.chosen.tun)
            return Device(
                tun: tun, offloads: offloads, addresses: addresses, mtu: Int(link.mtu), origin: origin,
                nodePort: link.alias.flatMap { NodePortHint($0) })
        } catch let error as SidecarError { throw error } catch { throw .device("read interface \(name): \(error)") }
    }

    /// The addresses of all other interfaces that others may reach us at: the host candidates.
    static func underlayAddresses(besides name: String) -> [IPAddress] {
        guard var socket = try? RouteSocket(), let links = try? socket.links(), let all = try? socket.addresses() else {
            return []
        }
        let excluded = Set(links.filter { $0.name == name || $0.name == "lo" }.map(\.index))
        let addresses = all.filter { !excluded.contains($0.linkIndex) }.map(\.prefix.address)
        return addresses.filter { !$0.isRefusedAsTarget }.sorted()
    }
}
