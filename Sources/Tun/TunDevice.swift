package import CLinux
import Glibc
package import Linux

/// An attached TUN interface: packets that the kernel routes to it are read here, packets written here arrive from it.
///
/// Every frame is a `VirtioNetHeader` and an IP packet. The descriptor is non-blocking, and works on when the interface is
/// moved to another network namespace. Closing it leaves a persistent interface in place (down to NO-CARRIER) and deletes
/// any other. TUNSETPERSIST 0, with which even an unprivileged owner destroys the interface, is never called.
///
/// One thread may read while another writes.
package struct TunDevice: ~Copyable, Sendable {
    private let descriptor: FileDescriptor

    /// A buffer for `read(into:)` that holds any frame, with the room `SegmentSplitter` wants behind it.
    package static let frameBufferSize = 65536 + 64

    /// Creates the interface in the calling thread's network namespace. Needs CAP_NET_ADMIN; it is gone when the descriptor
    /// is closed, unless `persist` is called.
    package static func create(_ name: String) throws(TunError) -> TunDevice {
        let device = try open()
        do { try device.bind(name, exclusively: true) } catch {
            throw switch error.errno {
            case .busy, .exists: .exists(name)
            case .invalidArgument: indexOfInterface(name) == nil ? .invalidName(name) : .exists(name)
            case .notPermitted: .notPermitted(name)
            default: .system(error)
            }
        }
        return device
    }

    /// Attaches to an existing interface in the calling thread's network namespace. Needs no capability when the caller's
    /// uid is the owner's. Its first packets may be lost: the carrier comes up with the attachment.
    package static func attach(_ name: String) throws(TunError) -> TunDevice {
        guard isValidName(name) else { throw .invalidName(name) }
        let device = try open()
        // A privileged caller would create what is not there.
        guard indexOfInterface(name) != nil else { throw .noSuchInterface(name) }
        do { try device.bind(name, exclusively: false) } catch {
            throw switch error.errno {
            case .busy: .held(name)
            case .notPermitted: .notOwner(name, uid: geteuid())
            case .invalidArgument: .notTun(name)
            default: .system(error)
            }
        }
        return device
    }

    /// Takes over a descriptor that is attached already, as another process handed it over. It is closed on failure.
    package init(adopting descriptor: consuming FileDescriptor) throws(TunError) {
        var request = InterfaceRequest()
        let raw = descriptor.raw
        let subject = "descriptor \(raw)"
        do { try request.call(raw, CLinux_TUNGETIFF, "TUNGETIFF \(subject)") } catch {
            throw error.errno == Errno(EBADF) ? .system(error) : .notTun(subject)
        }
        let name = request.name
        let flags = Int32(request.flags)
        guard flags & Int32(IFF_TUN) != 0, flags & Int32(IFF_MULTI_QUEUE) == 0 else { throw .notTun(name) }
        guard flags & Int32(IFF_NO_PI) != 0, flags & Int32(IFF_VNET_HDR) != 0 else { throw .wrongFraming(name) }
        do { try Self.prepare(descriptor) } catch { throw .system(error) }
        self.descriptor = descriptor
    }

    private init(_ descriptor: consuming FileDescriptor) { self.descriptor = descriptor }

    /// For epoll and for handing over; stays owned here.
    package var raw: Int32 { descriptor.raw }

    /// Makes the interface outlive this process, owned by `owner` (a uid of the initial user namespace as the kernel sees
    /// it): that uid may attach without any capability. Needs CAP_NET_ADMIN.
    package borrowing func persist(owner: UInt32, group: UInt32? = nil) throws(TunError) {
        let raw = descriptor.raw
        do {
            // The owner first: a persistent device without one can be attached to by anyone.
            try control(raw, CLinux_TUNSETOWNER, UInt(owner), "TUNSETOWNER \(owner)")
            if let group { try control(raw, CLinux_TUNSETGROUP, UInt(group), "TUNSETGROUP \(group)") }
            try control(raw, CLinux_TUNSETPERSIST, 1, "TUNSETPERSIST")
        } catch { throw .system(error) }
    }

    /// Asks for `wanted` and returns what the kernel granted: all, or the largest part it knows (USO needs Linux 6.2).
    /// Nothing is offloaded before the first call.
    @discardableResult
    package borrowing func enableOffloads(_ wanted: TunOffloads = .all) -> TunOffloads {
        let raw = descriptor.raw
        // The kernel takes USO4 only together with USO6, and any segmentation only with checksums.
        let candidates = [wanted, wanted.subtracting(.uso), wanted.subtracting([.uso4, .uso6, .tsoECN]), [.checksum], []]
        for candidate in candidates where candidate.isSubset(of: wanted) {
            if CLinux_ioctl_value(raw, CLinux_TUNSETOFFLOAD, UInt(candidate.rawValue)) == 0 { return candidate }
        }
        return []
    }

    /// Reads one frame. Room for `SegmentSplitter` is left at the end of `buffer`.
    ///
    /// - Returns: the frame's length, 0 when there is none now, or a negative errno: EBADFD when the interface is deleted.
    package borrowing func read(into buffer: UnsafeMutableRawBufferPointer) -> Int {
        while true {
            let length = unsafe Glibc.read(
                descriptor.raw, buffer.baseAddress, max(0, buffer.count &- SegmentSplitter.paddingRoom))
            if length >= 0 { return length }
            let code = errno
            if code == EAGAIN { return 0 }
            if code != EINTR { return -Int(code) }
        }
    }

    /// Writes one frame given in parts, the first of which starts with the virtio header (`SegmentCoalescer.vectors`).
    ///
    /// - Returns: the bytes written, or a negative errno: EBADFD when the interface is deleted, EIO when it is down, EINVAL
    ///   for a frame the kernel does not understand.
    package borrowing func write(_ frame: UnsafeBufferPointer<iovec>) -> Int {
        while true {
            let length = unsafe writev(descriptor.raw, frame.baseAddress, Int32(truncatingIfNeeded: frame.count))
            if length >= 0 { return length }
            let code = errno
            if code != EINTR { return -Int(code) }
        }
    }

    /// Writes one IP packet with a complete checksum. Returns as the other `write`.
    package borrowing func write(_ packet: UnsafeRawBufferPointer) -> Int {
        var header: (UInt64, UInt64) = (0, 0)
        return unsafe withUnsafeMutableBytes(of: &header) { header in
            var parts = unsafe (
                iovec(iov_base: header.baseAddress, iov_len: VirtioNetHeader.size),
                iovec(iov_base: UnsafeMutableRawPointer(mutating: packet.baseAddress), iov_len: packet.count)
            )
            return unsafe withUnsafeBytes(of: &parts) { unsafe write($0.bindMemory(to: iovec.self)) }
        }
    }

    private static func open() throws(TunError) -> TunDevice {
        do { return TunDevice(try FileDescriptor(open: "/dev/net/tun", O_RDWR | O_NONBLOCK)) } catch {
            throw switch error.errno {
            case .noEntry, .noDevice, Errno(ENXIO): .noDeviceNode
            case .accessDenied, .notPermitted: .deviceNodeDenied(error.errno)
            default: .system(error)
            }
        }
    }

    private borrowing func bind(_ name: String, exclusively: Bool) throws(SystemError) {
        guard var request = InterfaceRequest(name) else {
            throw SystemError("TUNSETIFF \(name)", .invalidArgument)
        }
        let flags = Int32(IFF_TUN) | Int32(IFF_NO_PI) | Int32(IFF_VNET_HDR) | (exclusively ? Int32(IFF_TUN_EXCL) : 0)
        request.flags = UInt16(truncatingIfNeeded: flags)
        try request.call(descriptor.raw, CLinux_TUNSETIFF, "TUNSETIFF \(name)")
        try Self.prepare(descriptor)
    }

    private static func prepare(_ descriptor: borrowing FileDescriptor) throws(SystemError) {
        var size = Int32(VirtioNetHeader.size)
        let raw = descriptor.raw
        _ = try check("TUNSETVNETHDRSZ") { unsafe CLinux_ioctl_pointer(raw, CLinux_TUNSETVNETHDRSZ, &size) }
        try descriptor.setNonBlocking()
    }
}

private func control(_ raw: Int32, _ request: UInt, _ argument: UInt, _ operation: String) throws(SystemError) {
    _ = try check(operation) { CLinux_ioctl_value(raw, request, argument) }
}
