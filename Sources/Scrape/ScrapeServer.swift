package import Addressing
import CLinux
import Glibc
package import Linux
import Timing
import Transport

/// Health and metrics over HTTP/1.1: one answer to one GET, then the connection is closed.
///
/// By hand, because a few fixed answers need no HTTP library in a process that runs as root or beside each pod. One
/// thread; at most 32 connections of 5 s each, and the oldest makes room.
package final class ScrapeServer: Sendable {
    private static let connectionLimit = 32
    private static let patience = Interval.seconds(5)

    private let answer: @Sendable (String) -> ScrapeAnswer?
    private let refuses: @Sendable (IPAddress) -> Bool
    private let listener: FileDescriptor
    private let stopping: EventFD
    /// Where it listens, with the port that the kernel chose for port 0.
    package let endpoint: Endpoint

    /// Binds; `[::]` listens for IPv4 too, and for that alone where the kernel has no IPv6.
    ///
    /// - Parameters:
    ///   - refuses: whether clients from an address get no answer.
    ///   - answer: to a path, on the server's thread; nil for what there is not.
    package init(
        listen endpoint: Endpoint, refuses: @escaping @Sendable (IPAddress) -> Bool = { _ in false },
        answer: @escaping @Sendable (String) -> ScrapeAnswer?
    ) throws(SystemError) {
        let listener: FileDescriptor
        do throws(SystemError) { listener = try Self.listener(endpoint) } catch {
            guard error.errno == Errno(EAFNOSUPPORT), endpoint.address == .v6(.any) else { throw error }
            listener = try Self.listener(Endpoint(.v4(.any), port: endpoint.port))
        }
        self.endpoint = unsafe Self.name(of: listener.raw, getsockname) ?? endpoint
        self.listener = listener
        self.answer = answer
        self.refuses = refuses
        stopping = try EventFD()
    }

    package func stop() { stopping.signal() }

    /// Serves until `stop`.
    package func run() throws(SystemError) {
        let epoll = try Epoll()
        try epoll.add(stopping.raw, .read, token: 0)
        try epoll.add(listener.raw, .read, token: 1)
        var connections: [UInt64: ScrapeConnection] = [:]
        var next: UInt64 = 2
        while true {
            for event in try epoll.wait(timeout: connections.isEmpty ? nil : .seconds(1)) {
                switch event.token {
                case 0: return
                case 1:
                    guard let connection = accept() else { continue }
                    if connections.count >= Self.connectionLimit, let oldest = connections.keys.min() {
                        connections[oldest] = nil
                    }
                    guard (try? epoll.add(connection.raw, .read, token: next)) != nil else { continue }
                    connections[next] = connection
                    next += 1
                case let token:
                    guard let connection = connections[token] else { continue }
                    switch connection.advance(answer) {
                    case .toRead: break
                    case .toWrite:
                        if (try? epoll.modify(connection.raw, .write, token: token)) == nil { connections[token] = nil }
                    case .nothing: connections[token] = nil
                    }
                }
            }
            let now = MonotonicTime.now()
            connections = connections.filter { $0.value.deadline > now }
        }
    }

    private func accept() -> ScrapeConnection? {
        let raw = CLinux_accept4(listener.raw, Int32(SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue))
        guard raw >= 0 else { return nil }
        let descriptor = FileDescriptor(owning: raw)
        guard let peer = unsafe Self.name(of: raw, getpeername)?.address else { return nil }
        let address: IPAddress =
            if case .v6(let v6) = peer, let v4 = v6.embeddedIPv4 { .v4(v4) } else { peer }
        guard !refuses(address) else { return nil }
        return ScrapeConnection(descriptor, until: .now() + Self.patience)
    }

    private static func listener(_ endpoint: Endpoint) throws(SystemError) -> FileDescriptor {
        let family = endpoint.address.isIPv6 ? AF_INET6 : AF_INET
        let type = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
        let listener = FileDescriptor(owning: try check("socket for \(endpoint)") { socket(family, type, 0) })
        let raw = listener.raw
        set(raw, SOL_SOCKET, SO_REUSEADDR, 1)
        if endpoint.address == .v6(.any) { set(raw, Int32(IPPROTO_IPV6), IPV6_V6ONLY, 0) }
        var address = [UInt8](repeating: 0, count: SocketAddress.size)
        let length = unsafe address.withUnsafeMutableBytes { unsafe SocketAddress.store(endpoint, to: $0.baseAddress!) }
        _ = try check("bind \(endpoint)") {
            unsafe address.withUnsafeBytes {
                unsafe bind(raw, $0.assumingMemoryBound(to: sockaddr.self).baseAddress, length)
            }
        }
        _ = try check("listen \(endpoint)") { Glibc.listen(raw, 16) }
        return listener
    }

    private static func set(_ raw: Int32, _ level: Int32, _ option: Int32, _ value: Int32) {
        var value = value
        unsafe setsockopt(raw, level, option, &value, socklen_t(MemoryLayout<Int32>.size))
    }

    private static func name(
        of raw: Int32,
        _ call: (Int32, UnsafeMutablePointer<sockaddr>?, UnsafeMutablePointer<socklen_t>?) -> Int32
    ) -> Endpoint? {
        var address = [UInt8](repeating: 0, count: SocketAddress.size)
        var size = socklen_t(SocketAddress.size)
        let result = unsafe address.withUnsafeMutableBytes {
            unsafe call(raw, $0.assumingMemoryBound(to: sockaddr.self).baseAddress, &size)
        }
        guard result == 0 else { return nil }
        return unsafe address.withUnsafeBytes { unsafe SocketAddress.load($0.baseAddress!, length: Int(size)) }
    }
}
