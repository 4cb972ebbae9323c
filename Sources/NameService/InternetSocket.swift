import Addressing
import CLinux
import Glibc
import Linux
import Transport

/// The sockets of a name server, all non-blocking: one call each, errors with operation and subject.
enum InternetSocket {
    enum Kind: String {
        case udp = "UDP"
        case tcp = "TCP"
        fileprivate var type: Int32 { Int32((self == .udp ? SOCK_DGRAM : SOCK_STREAM).rawValue) }
    }

    private static func make(_ kind: Kind, _ address: IPAddress) throws(SystemError) -> FileDescriptor {
        let flags = Int32(SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
        let domain = address.isIPv6 ? AF_INET6 : AF_INET
        return FileDescriptor(
            owning: try check("socket \(kind.rawValue)") { Glibc.socket(domain, kind.type | flags, 0) })
    }

    /// Bound to `local`; a TCP one listens.
    ///
    /// - Parameter device: where packets must come in and go out (SO_BINDTODEVICE, which needs no privilege since Linux
    ///   5.7): without it, `lo`'s addresses answer whoever sends to them from outside.
    static func serving(_ kind: Kind, at local: Endpoint, on device: String?) throws(SystemError) -> FileDescriptor {
        let socket = try make(kind, local.address)
        let raw = socket.raw
        if let device {
            let name = Array(device.utf8)
            _ = try check("bind to device \(device)") {
                unsafe setsockopt(raw, SOL_SOCKET, SO_BINDTODEVICE, name, socklen_t(name.count))
            }
        }
        if local.address.isIPv6 { setOption(raw, Int32(IPPROTO_IPV6), IPV6_V6ONLY) }
        // Connections of the process before this one may still be ending.
        if kind == .tcp { setOption(raw, SOL_SOCKET, SO_REUSEADDR) }
        _ = try check("bind \(kind.rawValue) \(local)") {
            unsafe withAddress(of: local) { unsafe Glibc.bind(raw, $0, $1) }
        }
        if kind == .tcp { _ = try check("listen \(local)") { Glibc.listen(raw, 64) } }
        return socket
    }

    /// Connected, or on the way to it, from a port of the kernel's choice, which is random.
    static func connected(_ kind: Kind, to remote: Endpoint) throws(SystemError) -> FileDescriptor {
        let socket = try make(kind, remote.address)
        let raw = socket.raw
        if kind == .tcp { setOption(raw, Int32(IPPROTO_TCP), TCP_NODELAY) }
        let result = unsafe withAddress(of: remote) { unsafe Glibc.connect(raw, $0, $1) }
        if result < 0, Errno.current != Errno(EINPROGRESS) {
            throw SystemError("connect \(kind.rawValue) \(remote)", .current)
        }
        return socket
    }

    /// The next connection; nil when none waits.
    static func accept(_ listener: Int32) throws(SystemError) -> FileDescriptor? {
        let flags = Int32(SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
        let raw = CLinux_accept4(listener, flags)
        if raw >= 0 {
            setOption(raw, Int32(IPPROTO_TCP), TCP_NODELAY)
            return FileDescriptor(owning: raw)
        }
        switch Errno.current {
        // Or it is gone already.
        case .again, .interrupted, Errno(ECONNABORTED): return nil
        case let errno: throw SystemError("accept", errno)
        }
    }

    /// Sends now or not at all.
    @discardableResult
    static func send(_ bytes: [UInt8], on raw: Int32, to remote: Endpoint? = nil) -> Errno? {
        let sent = unsafe bytes.withUnsafeBytes { bytes in
            guard let remote else { return unsafe Glibc.send(raw, bytes.baseAddress, bytes.count, flags) }
            return unsafe withAddress(of: remote) {
                unsafe sendto(raw, bytes.baseAddress, bytes.count, flags, $0, $1)
            }
        }
        return sent < 0 ? .current : nil
    }

    /// As much as fits now: how many bytes, or why none.
    static func write(_ bytes: ArraySlice<UInt8>, on raw: Int32) -> Result<Int, Errno> {
        let sent = unsafe bytes.withUnsafeBytes { unsafe Glibc.send(raw, $0.baseAddress, $0.count, flags) }
        return sent < 0 ? .failure(.current) : .success(sent)
    }

    private static let flags = Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT)

    private static func withAddress<Result>(
        of endpoint: Endpoint, _ body: (UnsafePointer<sockaddr>?, socklen_t) -> Result
    ) -> Result {
        var name = SIMD32<UInt8>()
        return unsafe withUnsafeMutableBytes(of: &name) { name in
            // Safe: SocketAddress.size bytes are less than these 32.
            guard let address = name.baseAddress else { return body(nil, 0) }
            let length = unsafe SocketAddress.store(endpoint, to: address)
            return unsafe body(UnsafePointer(address.assumingMemoryBound(to: sockaddr.self)), length)
        }
    }

    private static func setOption(_ raw: Int32, _ level: Int32, _ name: Int32) {
        var value: Int32 = 1
        _ = unsafe setsockopt(raw, level, name, &value, socklen_t(MemoryLayout<Int32>.size))
    }
}

/// Room for the longest message, allocated once. One thread.
@safe final class ReceiveBuffer {
    // Safe: `size` bytes, allocated here and freed in deinit.
    private let storage = UnsafeMutableRawBufferPointer.allocate(byteCount: 65536, alignment: 16)

    deinit { unsafe storage.deallocate() }

    /// What came, and from whom where the socket is not connected; empty at a stream's end.
    func receive(_ raw: Int32) -> Result<(bytes: [UInt8], from: Endpoint?), Errno> {
        var name = SIMD32<UInt8>()
        let (count, source) = unsafe withUnsafeMutableBytes(of: &name) { name -> (Int, Endpoint?) in
            var length = socklen_t(name.count)
            let count = unsafe recvfrom(
                raw, storage.baseAddress, storage.count, Int32(MSG_DONTWAIT),
                name.baseAddress?.assumingMemoryBound(to: sockaddr.self), &length)
            let source = unsafe name.baseAddress.flatMap { unsafe SocketAddress.load($0, length: Int(length)) }
            return (count, source)
        }
        if count < 0 { return .failure(.current) }
        return unsafe .success((Array(storage[..<count]), source))
    }
}
