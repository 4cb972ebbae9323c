import CLinux
import Glibc
import Linux

// What the interface is called and how large its packets are: it may have been renamed or moved since.
extension TunDevice {
    /// How many segments of TCP the kernel should hand over in one piece: as many as leave in one piece again.
    ///
    /// A datagram run of the underlay is at most 65,535 bytes with its headers; 44 times an inner packet of 1,420, sealed and
    /// relayed (52 more), is 64,768. Without it the kernel makes runs of 47, and each leaves as one of 44 and one of 3,
    /// which costs all that a full one does, and its turn in every queue. Interfaces with larger packets have fewer a run
    /// anyhow, by bytes.
    package static let segmentsPerRun: UInt32 = 44

    /// The interface's name now; nil when it is deleted.
    package var name: String? {
        var request = InterfaceRequest()
        do { try request.call(raw, CLinux_TUNGETIFF, "TUNGETIFF") } catch { return nil }
        return request.name
    }

    /// The interface's index; nil when it is deleted, or moved to a namespace that can't be entered.
    package var interfaceIndex: Int32? { query(CLinux_SIOCGIFINDEX) }

    /// The interface's MTU; nil when it is deleted, or moved to a namespace that can't be entered.
    package var mtu: Int? { query(CLinux_SIOCGIFMTU).map(Int.init) }

    private func query(_ request: UInt) -> Int32? {
        guard let name else { return nil }
        let home = CLinux_ioctl_value(raw, CLinux_TUNGETDEVNETNS, 0)
        // Without CAP_NET_ADMIN over its namespace, the interface is taken to be where the caller is.
        guard home >= 0 else { return Tun.query(name, request) }
        let descriptor = FileDescriptor(owning: home)
        do {
            let namespace = try NetworkNamespace(path: "/proc/self/fd/\(descriptor.raw)")
            if try namespace.identity() == NetworkNamespace.current().identity() { return Tun.query(name, request) }
            return try namespace.run { Tun.query(name, request) }
        } catch { return nil }
    }
}
