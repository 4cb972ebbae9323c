import CLinux
import Glibc

/// A socket of the Unix domain that keeps messages apart (unix(7), SOCK_SEQPACKET), with the peer's credentials and with
/// descriptors sent along.
///
/// Listeners and what they accept are non-blocking, what `connect` makes blocks for its time limit. Not tied to a thread.
package struct PacketSocket: ~Copyable, Sendable {
    package enum Name: Hashable, Sendable {
        case path(String)
        /// In the abstract namespace, of which each network namespace has its own: no file, no permissions.
        case abstract(String)
    }

    /// Who connected, as the reader's user and pid namespaces show it (SO_PEERCRED).
    package struct Peer: Hashable, Sendable {
        /// 0 for a process that the reader's pid namespace does not show.
        package let pid: Int32
        package let uid: UInt32
    }

    /// A received message; what came with it is closed with this value.
    package struct Received: ~Copyable, Sendable {
        package let bytes: [UInt8]
        /// The one descriptor that came along; nil for none, and when there were several.
        package var descriptor: FileDescriptor?
    }

    private let descriptor: FileDescriptor

    /// Takes over a socket of this kind.
    package init(owning descriptor: consuming FileDescriptor) { self.descriptor = descriptor }

    package var raw: Int32 { descriptor.raw }

    /// A socket that listens. A path that a dead process left is taken over; one that answers is EADDRINUSE.
    ///
    /// - Parameter mode: the permissions of a path's file.
    package static func listen(at name: Name, mode: UInt32 = 0o600, backlog: Int32 = 16) throws(SystemError) -> Self {
        let socket = try PacketSocket(flags: SOCK_NONBLOCK.rawValue)
        let raw = socket.raw
        if case .path(let path) = name {
            if let _ = try? connect(to: name, seconds: 1) { throw SystemError("bind \(name)", Errno(EADDRINUSE)) }
            _ = unsafe unlink(path)
            // Before it has a name: nobody can connect in between, and no other thread's files get a mask of ours.
            _ = try check("chmod \(name)") { fchmod(raw, mode_t(mode)) }
        }
        _ = try check("bind \(name)") { unsafe name.withAddress { unsafe Glibc.bind(raw, $0, $1) } }
        _ = try check("listen \(name)") { Glibc.listen(raw, backlog) }
        return socket
    }

    /// - Parameter seconds: how long connecting, each send and each receive may take.
    package static func connect(to name: Name, seconds: Int) throws(SystemError) -> Self {
        let socket = try PacketSocket(flags: 0)
        UnixSocket.setTimeout(socket.descriptor, seconds: seconds)
        let raw = socket.raw
        _ = try check("connect \(name)") { unsafe name.withAddress { unsafe Glibc.connect(raw, $0, $1) } }
        return socket
    }

    /// The next connection; nil when there is none now, or its maker took it back.
    package borrowing func accept() throws(SystemError) -> PacketSocket? {
        let raw = descriptor.raw
        do {
            let accepted = try check("accept") {
                CLinux_accept4(raw, Int32(SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue))
            }
            return PacketSocket(owning: FileDescriptor(owning: accepted))
        } catch {
            if error.errno == .again || error.errno == Errno(ECONNABORTED) { return nil }
            throw error
        }
    }

    package borrowing func peer() throws(SystemError) -> Peer {
        var credentials = CLinux_ucred()
        var size = socklen_t(MemoryLayout<CLinux_ucred>.size)
        let raw = descriptor.raw
        _ = try check("SO_PEERCRED") { unsafe getsockopt(raw, SOL_SOCKET, SO_PEERCRED, &credentials, &size) }
        return Peer(pid: credentials.pid, uid: credentials.uid)
    }

    /// The process that connected; throws ESRCH when it has ended.
    package borrowing func peerProcess() throws(SystemError) -> PeerProcess {
        let pid = try peer().pid
        guard pid > 0 else {
            throw SystemError("find the peer's process: it is in no pid namespace of ours", Errno(ESRCH))
        }
        var handle: Int32 = -1
        var size = socklen_t(MemoryLayout<Int32>.size)
        // Before Linux 6.5 the process is found by its number.
        guard unsafe getsockopt(descriptor.raw, SOL_SOCKET, CLinux_SO_PEERPIDFD, &handle, &size) == 0 else {
            return try PeerProcess(pid: pid)
        }
        return try PeerProcess(pid: pid, handle: FileDescriptor(owning: handle))
    }

    /// Waits for at most `seconds` in each send and receive from now on.
    package borrowing func block(seconds: Int) throws(SystemError) {
        let raw = descriptor.raw
        _ = try check("fcntl F_SETFL") { CLinux_fcntl(raw, F_SETFL, 0) }
        UnixSocket.setTimeout(descriptor, seconds: seconds)
    }

    /// Sends one message, with a copy of the descriptor `passed` if there is one.
    package borrowing func send(_ bytes: [UInt8], passing passed: Int32? = nil) throws(SystemError) {
        let raw = descriptor.raw
        var bytes = bytes
        // CMSG_SPACE of one descriptor, aligned as its header.
        var control: (UInt64, UInt64, UInt64) = (0, 0, 0)
        let size = CLinux_CMSG_SPACE(MemoryLayout<Int32>.size)
        precondition(size == MemoryLayout.size(ofValue: control))
        _ = try check("send") {
            unsafe bytes.withUnsafeMutableBytes { bytes in
                var part = unsafe iovec(iov_base: bytes.baseAddress, iov_len: bytes.count)
                return unsafe withUnsafeMutableBytes(of: &control) { control in
                    unsafe withUnsafeMutablePointer(to: &part) { part in
                        var message = unsafe msghdr()
                        unsafe message.msg_iov = part
                        unsafe message.msg_iovlen = 1
                        if let passed {
                            unsafe message.msg_control = control.baseAddress
                            unsafe message.msg_controllen = size
                            // Safe: the buffer holds exactly one header and one descriptor.
                            if let header = unsafe CLinux_CMSG_FIRSTHDR(&message) {
                                unsafe header.pointee.cmsg_level = SOL_SOCKET
                                unsafe header.pointee.cmsg_type = Int32(SCM_RIGHTS)
                                unsafe header.pointee.cmsg_len = CLinux_CMSG_LEN(MemoryLayout<Int32>.size)
                                unsafe CLinux_CMSG_DATA(header).withMemoryRebound(to: Int32.self, capacity: 1) {
                                    unsafe $0.pointee = passed
                                }
                            }
                        }
                        return Int32(clamping: unsafe sendmsg(raw, &message, Int32(MSG_NOSIGNAL)))
                    }
                }
            }
        }
    }

    /// Receives one message of at most `limit` bytes; empty when the other end has closed. EMSGSIZE for a longer one.
    package borrowing func receive(limit: Int) throws(SystemError) -> Received {
        let raw = descriptor.raw
        var bytes = [UInt8](repeating: 0, count: limit)
        // Room for two descriptors, so that a second one is noticed; what has no room the kernel closes.
        var control: (UInt64, UInt64, UInt64) = (0, 0, 0)
        var passed: [Int32] = []
        var flags: Int32 = 0
        let length = try check("receive") {
            unsafe bytes.withUnsafeMutableBytes { bytes in
                var part = unsafe iovec(iov_base: bytes.baseAddress, iov_len: bytes.count)
                return unsafe withUnsafeMutableBytes(of: &control) { control in
                    unsafe withUnsafeMutablePointer(to: &part) { part in
                        var message = unsafe msghdr()
                        unsafe message.msg_iov = part
                        unsafe message.msg_iovlen = 1
                        unsafe message.msg_control = control.baseAddress
                        unsafe message.msg_controllen = control.count
                        let length = unsafe recvmsg(raw, &message, Int32(MSG_CMSG_CLOEXEC))
                        flags = unsafe message.msg_flags
                        if length >= 0 { passed = unsafe descriptors(in: &message) }
                        return Int32(clamping: length)
                    }
                }
            }
        }
        let isOne = passed.count == 1 && flags & Int32(MSG_CTRUNC) == 0
        var received = Received(bytes: Array(bytes.prefix(Int(length))), descriptor: nil)
        for (index, descriptor) in passed.enumerated() {
            let owned = FileDescriptor(owning: descriptor)
            if index == 0 && isOne { received.descriptor = consume owned }
        }
        if flags & Int32(MSG_TRUNC) != 0 { throw SystemError("receive", .messageTooLong) }
        return received
    }

    private init(flags: UInt32) throws(SystemError) {
        descriptor = FileDescriptor(
            owning: try check("socket AF_UNIX") {
                socket(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue | SOCK_CLOEXEC.rawValue | flags), 0)
            })
    }
}

/// The descriptors that the kernel put into the message's control data.
private func descriptors(in message: inout msghdr) -> [Int32] {
    var found: [Int32] = []
    var next = unsafe CLinux_CMSG_FIRSTHDR(&message)
    while let header = unsafe next {
        if unsafe header.pointee.cmsg_level == SOL_SOCKET && header.pointee.cmsg_type == Int32(SCM_RIGHTS) {
            let length = unsafe header.pointee.cmsg_len - CLinux_CMSG_LEN(0)
            // Safe: the kernel wrote `length` bytes of descriptors after the header.
            let data = unsafe UnsafeRawBufferPointer(start: CLinux_CMSG_DATA(header), count: Int(length))
            for offset in stride(from: 0, to: data.count - 3, by: 4) {
                found.append(unsafe data.loadUnaligned(fromByteOffset: offset, as: Int32.self))
            }
        }
        unsafe next = CLinux_CMSG_NXTHDR(&message, header)
    }
    return found
}

extension PacketSocket.Name: CustomStringConvertible {
    /// An abstract name is written with @, as ss(8) shows it.
    package var description: String {
        switch self {
        case .path(let path): path
        case .abstract(let name): "@\(name)"
        }
    }

    fileprivate func withAddress(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes: [UInt8] =
            switch self {
            case .path(let path): Array(path.utf8) + [0]
            case .abstract(let name): [0] + Array(name.utf8)
            }
        let fits = unsafe withUnsafeMutableBytes(of: &address.sun_path) { field in
            guard bytes.count <= field.count else { return false }
            unsafe field.copyBytes(from: bytes)
            return true
        }
        guard fits else {
            errno = ENAMETOOLONG
            return -1
        }
        // The length is part of an abstract name.
        let length = MemoryLayout<sockaddr_un>.offset(of: \.sun_path)! + bytes.count  // Proven: a stored property.
        return unsafe withUnsafePointer(to: &address) {
            unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { unsafe body($0, socklen_t(length)) }
        }
    }
}
