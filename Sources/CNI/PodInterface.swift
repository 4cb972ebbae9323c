package import Addressing
import Glibc
import Linux
import Netlink
import Tun

/// `warren0` as it is to be inside a pod: made, checked and removed. All calls act in the calling thread's namespace.
package struct PodInterface: Sendable {
    package let settings: Settings
    /// The only uid that may attach, in the host's user namespace.
    package let owner: UInt32
    package let addresses: [IPPrefix]
    package let routes: [IPPrefix]
    /// The primary plugin's interface, if there is one before us.
    package let underlay: String?
    /// What the pod is told of its port of the node; nil when it has none.
    package var nodePort: NodePortHint?
    /// What `lo` gets for the pod's resolver; nothing where the namespace is the host's.
    package var resolver: [IPAddress]

    package init(
        settings: Settings, owner: UInt32, addresses: [IPPrefix], routes: [IPPrefix], underlay: String?
    ) {
        self.settings = settings
        self.owner = owner
        self.addresses = addresses
        self.routes = routes
        self.underlay = underlay
        resolver = settings.resolver
    }

    private var name: String { settings.interface }

    /// Makes the interface, up and routed, and returns its MTU. The last step makes it permanent: whatever fails
    /// before takes it away again.
    package func create() throws(CNIError) -> UInt32 {
        var socket = try Self.open()
        let surroundings = try Surroundings(&socket)
        func taken() -> CNIError {
            .alreadyAttached("create TUN \(name): the namespace has an interface of that name")
        }
        if surroundings.links.contains(where: { $0.name == name }) { throw taken() }
        try surroundings.refuseOverlaps(settings)
        let mtu = try expectedMTU(surroundings)
        let tun: PersistentTun
        do { tun = try PersistentTun(creating: name, owner: owner) } catch {
            throw error.errno == .busy ? taken() : .kernel(error.description)
        }
        do throws(NetlinkError) {
            guard let link = try socket.link(named: name) else {
                throw .refused(operation: "find link \(name)", errno: .noDevice, text: nil)
            }
            try socket.set(mtu: mtu, on: link)
            // Costs only speed where the kernel refuses.
            try? socket.set(maximumSegments: TunDevice.segmentsPerRun, on: link)
            enableIPv6()
            try socket.disableLinkLocalAddress(on: link)
            for address in addresses { try socket.add(address, to: link) }
            if let nodePort { try socket.set(alias: nodePort.description, on: link) }
            try socket.setUp(link)
            for route in routes { try socket.addRoute(to: route, on: link) }
            try PodResolver(resolver)?.create(&socket)
        } catch {
            throw .kernel(error.description)
        }
        do { try tun.persist() } catch { throw .kernel(error.description) }
        return mtu
    }

    /// Compares the interface with what it is to be, and names the first difference.
    package func check() throws(CNIError) {
        var socket = try Self.open()
        let surroundings = try Surroundings(&socket)
        let expectedMTU = try expectedMTU(surroundings)
        let link: Link?
        do throws(NetlinkError) { link = try socket.link(named: name) } catch { throw .kernel(error.description) }
        func expect(_ condition: Bool, _ fault: @autoclosure () -> String) throws(CNIError) {
            if !condition { throw .checkFailed("check \(name): \(fault())") }
        }
        guard let link else { throw .checkFailed("check \(name): it does not exist") }
        guard let tun = link.tun else {
            throw .checkFailed("check \(name): it is a \(link.kind ?? "device") and not a TUN")
        }
        try expect(tun.isLayer3, "it is a TAP and not a TUN")
        try expect(!tun.isMultiQueue, "it has several queues")
        try expect(tun.isPersistent, "it is not persistent")
        try expect(
            tun.owner == owner,
            "its owner is \(tun.owner.map { "uid \($0)" } ?? "not set") instead of uid \(owner)")
        try expect(link.isUp, "it is down")
        try expect(link.mtu == expectedMTU, "its MTU is \(link.mtu) instead of \(expectedMTU)")
        for address in addresses {
            let isThere = surroundings.addresses.contains { $0.linkIndex == link.index && $0.prefix == address }
            try expect(isThere, "address \(address) is missing")
        }
        for destination in routes {
            let isThere = surroundings.routes.contains {
                $0.isUnicast && $0.linkIndex == link.index && $0.destination == destination
            }
            try expect(isThere, "route \(destination) is missing")
        }
        if let fault = PodResolver(resolver)?.fault(surroundings) {
            throw .checkFailed("check \(name): \(fault)")
        }
    }

    /// Removes the interface called `name` if it is a TUN and `isOurs` says so of its addresses.
    ///
    /// - Parameter isPlugin: whether this process has one thread and ends soon, so that what the kernel does after the
    ///   interface is gone can be left to a child.
    package static func remove(
        named name: String, isPlugin: Bool = false, ifOurs isOurs: ([IPAddress]) throws(CNIError) -> Bool
    ) throws(CNIError) {
        var socket = try open()
        let (link, present): (Link?, [Address])
        do throws(NetlinkError) {
            (link, present) = (try socket.link(named: name), try socket.addresses())
        } catch {
            throw .kernel(error.description)
        }
        guard let link, link.tun != nil else { return }
        let addresses = present.filter { $0.linkIndex == link.index }.map(\.prefix.address)
        guard try isOurs(addresses) else { return }
        // What is left of it goes with the namespace. First, as nothing can be changed while the kernel deletes a link.
        try? PodResolver.remove(besides: addresses, &socket)
        do throws(NetlinkError) {
            if isPlugin { try socket.deleteByChild(link) } else { try socket.delete(link) }
        } catch {
            if error.errno != .noDevice { throw .kernel(error.description) }
        }
    }

    /// The configured MTU, else the underlay's less our overhead. The underlay is the primary plugin's interface,
    /// else what the default route leaves by, else an Ethernet.
    private func expectedMTU(_ surroundings: Surroundings) throws(CNIError) -> UInt32 {
        if let mtu = settings.mtu { return mtu }
        let (links, index) = (surroundings.links, surroundings.defaultLink)
        if let link = links.first(where: { $0.name == underlay }) ?? links.first(where: { $0.index == index }) {
            return try settings.mtu(over: link.mtu, named: link.name)
        }
        return try settings.mtu(over: 1500, named: "an Ethernet")
    }

    /// Some runtimes turn IPv6 off in pods whose primary network has none; our interface always needs it. Where the
    /// kernel has no IPv6 at all, setting the address says so.
    private func enableIPv6() {
        let path = "/proc/sys/net/ipv6/conf/\(name)/disable_ipv6"
        guard let setting = try? FileDescriptor(open: path, O_RDONLY), (try? setting.read(upTo: 1)) == [0x31] else {
            return
        }
        // Opened anew: a sysctl file takes a number only at its beginning.
        try? FileDescriptor(open: path, O_WRONLY).writeAll([0x30])
    }

    private static func open() throws(CNIError) -> RouteSocket {
        do { return try RouteSocket() } catch { throw .kernel(error.description) }
    }
}
