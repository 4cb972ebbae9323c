import Addressing
import Glibc
import Linux
import Transport

/// A TCP connection between two pods by their virtual addresses, open while something fails: a numbered message every
/// few milliseconds, each sent back by the peer.
///
/// Both ends are this process's, so that one clock stamps them. Not safe for concurrent use.
package final class InnerStream {
    private let caller: FileDescriptorBox
    private let peer: FileDescriptorBox
    private var serial: UInt64 = 0
    private var nextSend = 0.0
    private var unsent: [UInt8] = []
    private var unechoed: [UInt8] = []
    private var partial: [UInt8] = []
    private var expected: UInt64 = 0
    /// When answers came back to the caller.
    package private(set) var arrivals: [Double] = []
    /// What ended it; nil while it is whole.
    package private(set) var fault: String?

    private static let messageSize = 8

    /// Connects; throws when that takes longer than `timeout` seconds.
    package init(
        from caller: Pod, _ address: String, to peer: Pod, _ peerAddress: String, timeout: Double = 5
    ) throws {
        let listener = try Self.socket(in: peer.namespace, boundTo: peerAddress)
        guard listen(listener.raw, 1) == 0, let local = Self.name(of: listener.raw) else {
            throw LabError.system("listen on \(peerAddress)", errno: errno)
        }
        let client = try Self.socket(in: caller.namespace, boundTo: address)
        let connected = unsafe Self.withAddress(local) { unsafe connect(client.raw, $0, $1) }
        guard connected == 0 || errno == EINPROGRESS else {
            throw LabError.system("connect to \(local)", errno: errno)
        }
        var accepted: Int32 = -1
        try waitUntil("a TCP connection to \(local)", timeout: timeout, every: 0.001) {
            accepted = accept(listener.raw, nil, nil)
            return accepted >= 0
        }
        _ = fcntl(accepted, F_SETFD, FD_CLOEXEC)
        _ = fcntl(accepted, F_SETFL, O_NONBLOCK)
        self.caller = client
        self.peer = FileDescriptorBox(accepted)
        for end in [self.caller, self.peer] {
            var one: Int32 = 1
            _ = unsafe setsockopt(end.raw, Int32(IPPROTO_TCP), TCP_NODELAY, &one, 4)
        }
    }

    /// Sends every `interval` seconds until `deadline`, or until `isEnough`, or until the connection has failed.
    package func run(until deadline: Double, every interval: Double = 0.005, _ isEnough: () -> Bool = { false }) {
        while Clock.now < deadline, fault == nil, !isEnough() {
            let now = Clock.now
            if now >= nextSend {
                // Like an application: while the network takes nothing, nothing new is made.
                if unsent.isEmpty {
                    serial += 1
                    unsent = (0..<Self.messageSize).map { UInt8(truncatingIfNeeded: serial >> (8 * $0)) }
                }
                nextSend = now + interval
            }
            send()
            var events = [caller, peer].map { pollfd(fd: $0.raw, events: Int16(POLLIN), revents: 0) }
            _ = unsafe poll(&events, 2, Int32((max(0, nextSend - Clock.now) * 1000).rounded(.up)))
            unechoed += receive(peer)
            partial += receive(caller)
            take()
        }
    }

    /// The longest time without an answer from `start` on, in seconds, up to now.
    package func longestSilence(since start: Double) -> Double {
        let before = arrivals.last { $0 < start } ?? start
        let times = [before] + arrivals.filter { $0 >= start } + [Clock.now]
        return zip(times, times.dropFirst()).map { $1 - $0 }.max() ?? 0
    }

    private func take() {
        while partial.count >= Self.messageSize {
            let number = partial.prefix(Self.messageSize).reversed().reduce(0) { $0 << 8 | UInt64($1) }
            partial.removeFirst(Self.messageSize)
            expected += 1
            if number != expected { fault = "message \(number) came back in place of \(expected)" }
            arrivals.append(Clock.now)
        }
    }

    private func send() {
        if !unsent.isEmpty { unsent.removeFirst(write(caller, unsent)) }
        if !unechoed.isEmpty { unechoed.removeFirst(write(peer, unechoed)) }
    }

    private func write(_ end: FileDescriptorBox, _ bytes: [UInt8]) -> Int {
        let count = unsafe Glibc.send(end.raw, bytes, bytes.count, Int32(MSG_NOSIGNAL))
        if count >= 0 { return count }
        if errno != EAGAIN, errno != EINTR { fault = "send: errno \(errno)" }
        return 0
    }

    private func receive(_ end: FileDescriptorBox) -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: 65536)
        let count = unsafe recv(end.raw, &buffer, buffer.count, 0)
        if count > 0 { return Array(buffer.prefix(count)) }
        if count == 0 { fault = "the connection was closed" }
        if count < 0, errno != EAGAIN, errno != EINTR { fault = "receive: errno \(errno)" }
        return []
    }

    // MARK: - Sockets

    private static func socket(in namespace: Namespace, boundTo address: String) throws -> FileDescriptorBox {
        guard let parsed = IPAddress(address) else { throw LabError.unexpected("\(address) is no address") }
        return try NetworkNamespace(path: namespace.path).run {
            let type = Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
            let raw = Glibc.socket(parsed.isIPv6 ? AF_INET6 : AF_INET, type, 0)
            guard raw >= 0 else { throw LabError.system("make a TCP socket", errno: errno) }
            let box = FileDescriptorBox(raw)
            let bound = unsafe withAddress(Endpoint(parsed, port: 0)) { unsafe bind(raw, $0, $1) }
            guard bound == 0 else { throw LabError.system("bind to \(address)", errno: errno) }
            return box
        }
    }

    private static func withAddress(
        _ endpoint: Endpoint, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
    ) -> Int32 {
        var storage = sockaddr_storage()
        return unsafe withUnsafeMutableBytes(of: &storage) { bytes in
            guard let base = bytes.baseAddress else { return -1 }
            let length = unsafe SocketAddress.store(endpoint, to: base)
            return unsafe body(base.assumingMemoryBound(to: sockaddr.self), length)
        }
    }

    private static func name(of raw: Int32) -> Endpoint? {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        return unsafe withUnsafeMutableBytes(of: &storage) { bytes in
            guard let base = bytes.baseAddress,
                unsafe getsockname(raw, base.assumingMemoryBound(to: sockaddr.self), &length) == 0
            else { return nil }
            return unsafe SocketAddress.load(base, length: Int(length))
        }
    }
}

/// A descriptor that is closed with its last reference.
private final class FileDescriptorBox: Sendable {
    let raw: Int32
    init(_ raw: Int32) { self.raw = raw }
    deinit { close(raw) }
}
