import Addressing
import Glibc
import Linux
import Netlink

/// Where the sidecar's resolver is to be: addresses on the pod's `lo`, and the right to port 53 for who has no privilege.
/// All calls act in the calling thread's namespace, which is never the host's.
struct PodResolver {
    private static let port = 53
    private static let firstPort = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
    private let addresses: [IPAddress]

    /// Nil where the pod gets none.
    init?(_ addresses: [IPAddress]) {
        if addresses.isEmpty { return nil }
        self.addresses = addresses
    }

    /// Gives `lo` what it has not yet, as another attachment of the pod may have been there before.
    func create(_ socket: inout RouteSocket) throws(NetlinkError) {
        guard let lo = try socket.link(named: "lo") else {
            throw .refused(operation: "find link lo", errno: .noDevice, text: nil)
        }
        if !lo.isUp { try socket.setUp(lo) }
        let present = try socket.addresses(on: lo).map(\.prefix.address)
        for address in wanted where !present.contains(address) { try socket.add(IPPrefix(host: address), to: lo) }
        if let first = Self.firstUnprivilegedPort, first > Self.port { try Self.lowerFirstPort() }
    }

    /// The first difference, for CHECK.
    func fault(_ surroundings: Surroundings) -> String? {
        let lo = surroundings.links.first { $0.name == "lo" }
        if lo?.isUp != true { return "lo is down" }
        let present = surroundings.addresses.filter { $0.linkIndex == lo?.index }.map(\.prefix.address)
        if let missing = wanted.first(where: { !present.contains($0) }) { return "address \(missing) of lo is missing" }
        guard let first = Self.firstUnprivilegedPort, first > Self.port else { return nil }
        return "net.ipv4.ip_unprivileged_port_start is \(first) instead of \(Self.port)"
    }

    /// Takes the mesh's away, and the one that all meshes share after the last.
    ///
    /// - Parameter interface: the addresses that the mesh's interface had.
    static func remove(besides interface: [IPAddress], _ socket: inout RouteSocket) throws(NetlinkError) {
        guard let lo = try socket.link(named: "lo") else { return }
        let present = try socket.addresses(on: lo).map(\.prefix.address).filter(ResolverAddress.isOne)
        let meshes = interface.compactMap { IPPrefix($0, length: 48) }
        let gone = present.filter { one in one.isIPv6 && meshes.contains { $0.contains(one) } }
        for address in gone { try socket.remove(IPPrefix(host: address), from: lo) }
        guard !present.contains(where: { $0.isIPv6 && !gone.contains($0) }) else { return }
        for address in present where !address.isIPv6 { try socket.remove(IPPrefix(host: address), from: lo) }
    }

    /// Without those of a family that the pod's `lo` must not have.
    private var wanted: [IPAddress] {
        let hasIPv6 = Self.read("/proc/sys/net/ipv6/conf/lo/disable_ipv6") == 0
        return addresses.filter { !$0.isIPv6 || hasIPv6 }
    }

    private static var firstUnprivilegedPort: Int? { read(firstPort) }

    private static func read(_ path: String) -> Int? {
        guard let bytes = try? FileDescriptor(open: path, O_RDONLY).read(upTo: 16) else { return nil }
        return Int(String(decoding: bytes.prefix { (0x30...0x39).contains($0) }, as: UTF8.self))
    }

    private static func lowerFirstPort() throws(NetlinkError) {
        do throws(SystemError) { try FileDescriptor(open: firstPort, O_WRONLY).writeAll(Array("\(port)".utf8)) } catch {
            throw .refused(
                operation: "set net.ipv4.ip_unprivileged_port_start of the pod", errno: error.errno, text: nil)
        }
    }
}
