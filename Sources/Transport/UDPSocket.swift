package import Addressing
import CLinux
import Glibc
package import Linux

/// An unconnected, non-blocking UDP socket of one address family.
///
/// Made without `IP_RECVERR`, so ICMP errors of one peer never show up as errors of the socket. Fragmentation is left to the
/// network (IP_PMTUDISC_DONT: no don't-fragment bit), as kernel WireGuard does: forged or filtered ICMP can't make a path a
/// black hole, and the tunnel's own MTU keeps datagrams whole. Any thread may use it.
package struct UDPSocket: ~Copyable, Sendable {
    private let descriptor: FileDescriptor
    package let family: AddressFamily
    /// The port it is bound to.
    package let port: UInt16
    /// Whether one send may carry many datagrams (UDP_SEGMENT, Linux 4.18). A route can still refuse it with EIO.
    package let supportsSegmentation: Bool

    /// What the receive and send buffers are set to: one 64 KiB burst from each of a hundred peers.
    package static let bufferSize: Int32 = 7 << 20

    /// Binds to `address`, or any address of the family, and `port`, or a free one for 0. IPv6 sockets take no IPv4.
    ///
    /// - Parameter isShared: whether other sockets may have the port too, as for datagrams to all hosts (SO_REUSEADDR).
    package init(
        _ family: AddressFamily, address: IPAddress? = nil, port: UInt16 = 0, isShared: Bool = false
    ) throws(TransportError) {
        let any: IPAddress = family == .ipv6 ? .v6(.any) : .v4(.any)
        let local = Endpoint(address ?? any, port: port)
        let domain = family == .ipv6 ? AF_INET6 : AF_INET
        let raw = socket(
            domain, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), Int32(IPPROTO_UDP))
        guard raw >= 0 else {
            let errno = Errno.current
            throw errno == Errno(EAFNOSUPPORT)
                ? .familyNotSupported(family) : .system(SystemError("socket \(family) UDP", errno))
        }
        let descriptor = FileDescriptor(owning: raw)
        if family == .ipv6 { setOption(raw, Int32(IPPROTO_IPV6), IPV6_V6ONLY, 1) }
        if isShared { setOption(raw, SOL_SOCKET, SO_REUSEADDR, 1) }
        setBuffers(raw)
        do { try Transport.bind(raw, local) } catch {
            throw switch error.errno {
            case Errno(EADDRINUSE): .portInUse(local)
            case Errno(EADDRNOTAVAIL): .addressNotAvailable(local)
            default: .system(error)
            }
        }
        let bound: Endpoint
        do { bound = try localEndpoint(raw) } catch { throw .system(error) }
        supportsSegmentation = option(raw, Int32(IPPROTO_UDP), Int32(CLinux_UDP_SEGMENT)) != nil
        self.descriptor = descriptor
        self.family = family
        self.port = bound.port
        setPathMTUDiscovery(.never)
    }

    /// For epoll and `SocketTable`; stays owned here.
    package var raw: Int32 { descriptor.raw }

    /// Sends one datagram, now or not at all: nil, or why not (EAGAIN when the buffer is full).
    ///
    /// - Parameter ttl: the hop limit of this datagram only; the socket's own when nil.
    @discardableResult
    package borrowing func send(_ datagram: RawSpan, to endpoint: Endpoint, ttl: UInt8? = nil) -> Errno? {
        let raw = raw
        let family = family
        return unsafe datagram.withUnsafeBytes { bytes in
            var name = SIMD32<UInt8>()
            var part = unsafe iovec(
                iov_base: UnsafeMutableRawPointer(mutating: bytes.baseAddress), iov_len: bytes.count)
            var control = SIMD32<UInt8>()
            return unsafe withUnsafeMutablePointer(to: &part) { part in
                unsafe withUnsafeMutableBytes(of: &name) { name in
                    unsafe withUnsafeMutableBytes(of: &control) { control -> Errno? in
                        guard let address = name.baseAddress else { return .invalidArgument }
                        var message = unsafe msghdr()
                        unsafe message.msg_name = unsafe address
                        unsafe message.msg_namelen = unsafe SocketAddress.store(endpoint, to: address)
                        unsafe message.msg_iov = unsafe part
                        unsafe message.msg_iovlen = 1
                        if let ttl {
                            let level = family == .ipv6 ? Int32(IPPROTO_IPV6) : Int32(IPPROTO_IP)
                            let type = family == .ipv6 ? IPV6_HOPLIMIT : IP_TTL
                            unsafe ControlMessage.store(level, type, Int32(ttl), to: control)
                            unsafe message.msg_control = control.baseAddress
                            unsafe message.msg_controllen = ControlMessage.space
                        }
                        while unsafe sendmsg(raw, &message, Int32(MSG_NOSIGNAL)) < 0 {
                            let errno = Errno.current
                            if errno != .interrupted { return errno }
                        }
                        return nil
                    }
                }
            }
        }
    }

    /// The same for a datagram made by the control plane.
    @discardableResult
    package borrowing func send(_ datagram: [UInt8], to endpoint: Endpoint, ttl: UInt8? = nil) -> Errno? {
        let span = datagram.span
        return unsafe send(span.bytes, to: endpoint, ttl: ttl)
    }

    /// Sends one datagram that is fragmented neither here nor on the way: what is larger than the path is lost, and EMSGSIZE
    /// says so where the first link is already too small. What the kernel has heard of the path is ignored.
    ///
    /// IPv4's don't-fragment bit can't be asked for with one datagram, so it is the socket's for the time of this send. What other
    /// threads send meanwhile has it as well.
    @discardableResult
    package borrowing func sendUnfragmented(_ datagram: [UInt8], to endpoint: Endpoint, ttl: UInt8? = nil) -> Errno? {
        guard setPathMTUDiscovery(.probe) else { return .invalidArgument }
        defer { setPathMTUDiscovery(.never) }
        return send(datagram, to: endpoint, ttl: ttl)
    }

    /// Receives one datagram, for sockets that are not in a receive loop: its length and source; nil when there is none.
    /// A longer datagram is cut at the end of `buffer`. Don't mix with `enableReceiveOffload`.
    package borrowing func receive(into buffer: UnsafeMutableRawBufferPointer) -> (length: Int, source: Endpoint)? {
        var name = SIMD32<UInt8>()
        let raw = raw
        return unsafe withUnsafeMutableBytes(of: &name) { name in
            guard let address = name.baseAddress else { return nil }
            for _ in 0..<8 {
                var length = socklen_t(SocketAddress.size)
                let count = unsafe recvfrom(
                    raw, buffer.baseAddress, buffer.count, 0, address.assumingMemoryBound(to: sockaddr.self), &length)
                if count >= 0 {
                    return unsafe SocketAddress.load(address, length: Int(length)).map { (count, $0) }
                }
                if errno == EAGAIN { return nil }
            }
            return nil
        }
    }
}

private func bind(_ raw: Int32, _ local: Endpoint) throws(SystemError) {
    var name = SIMD32<UInt8>()
    _ = try check("bind \(local)") {
        unsafe withUnsafeMutableBytes(of: &name) { name in
            guard let address = name.baseAddress else { return -1 }
            let length = unsafe SocketAddress.store(local, to: address)
            return unsafe Glibc.bind(raw, address.assumingMemoryBound(to: sockaddr.self), length)
        }
    }
}

/// getsockname(2).
private func localEndpoint(_ raw: Int32) throws(SystemError) -> Endpoint {
    var name = SIMD32<UInt8>()
    var length = socklen_t(SocketAddress.size)
    _ = try check("getsockname") {
        unsafe withUnsafeMutableBytes(of: &name) { name in
            unsafe getsockname(raw, name.baseAddress?.assumingMemoryBound(to: sockaddr.self), &length)
        }
    }
    let endpoint = unsafe withUnsafeBytes(of: &name) { name in
        unsafe name.baseAddress.flatMap { unsafe SocketAddress.load($0, length: Int(length)) }
    }
    guard let endpoint else { throw SystemError("getsockname", .invalidArgument) }
    return endpoint
}

/// As large as permitted: with CAP_NET_ADMIN beyond the system's limit, else up to it.
private func setBuffers(_ raw: Int32) {
    for (forced, plain) in [(SO_RCVBUFFORCE, SO_RCVBUF), (SO_SNDBUFFORCE, SO_SNDBUF)]
    where !setOption(raw, SOL_SOCKET, forced, UDPSocket.bufferSize) {
        setOption(raw, SOL_SOCKET, plain, UDPSocket.bufferSize)
    }
}
