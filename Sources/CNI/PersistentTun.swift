import CLinux
import Glibc
package import Linux

/// A TUN device being made in the calling thread's network namespace, with virtio headers and one queue.
///
/// It belongs to one uid from its first moment and lives only as long as this value until `persist` is called: a
/// failure, a crash or a kill on the way leaves nothing behind, and there is no moment at which anybody may attach.
/// Whoever attaches later must ask for one queue too; IFF_NO_PI and IFF_VNET_HDR follow the last attach (tun.c).
package struct PersistentTun: ~Copyable {
    package let name: String
    private let descriptor: FileDescriptor

    /// Needs CAP_NET_ADMIN in the namespace. Throws EBUSY when it has an interface of that name already.
    ///
    /// - Parameter owner: a uid of the caller's user namespace; EINVAL when that maps no such uid.
    package init(creating name: String, owner: UInt32) throws(SystemError) {
        self.name = name
        let descriptor = try FileDescriptor(open: "/dev/net/tun", O_RDWR)
        let raw = descriptor.raw
        var request = unsafe ifreq()
        let bytes = Array(name.utf8)
        guard bytes.count < Int(IFNAMSIZ) else { throw SystemError("create TUN \(name)", Errno(ENAMETOOLONG)) }
        unsafe withUnsafeMutableBytes(of: &request.ifr_ifrn) { unsafe $0.copyBytes(from: bytes) }
        // IFF_TUN_EXCL: without it root would attach to an existing device instead of failing.
        let flags = UInt16(IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | IFF_TUN_EXCL)
        unsafe request.ifr_ifru.ifru_flags = Int16(bitPattern: flags)
        _ = try check("create TUN \(name)") { unsafe CLinux_ioctl_pointer(raw, CLinux_TUNSETIFF, &request) }
        _ = try check("set owner \(owner) of TUN \(name)") {
            CLinux_ioctl_value(raw, CLinux_TUNSETOWNER, UInt(owner))
        }
        self.descriptor = descriptor
    }

    /// Lets the device outlive this process.
    package consuming func persist() throws(SystemError) {
        let raw = descriptor.raw
        _ = try check("make TUN \(name) persistent") { CLinux_ioctl_value(raw, CLinux_TUNSETPERSIST, 1) }
    }
}
