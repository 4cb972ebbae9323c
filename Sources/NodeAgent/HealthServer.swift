package import Addressing
import CLinux
import Glibc
package import Linux
import Timing
import Transport

/// Health and metrics over HTTP/1.1, as the hub gives its own: `GET /healthz` is 200 or 503 with JSON, `GET /metrics` is 200
/// with Prometheus's text, anything else 404. One answer, then the connection is closed.
///
/// By hand, because three fixed answers need no HTTP library in a process that runs as root. One thread; at most 32
/// connections of 5 s each, and the oldest makes room.
package final class HealthServer: Sendable {
    private static let connectionLimit = 32
    private static let patience = Interval.seconds(5)

    private let status: NodeStatus
    private let listener: FileDescriptor
    private let stopping: EventFD
    /// Where it listens, with the port that the kernel chose for port 0.
    package let endpoint: Endpoint

    package init(listen endpoint: Endpoint, _ status: NodeStatus) throws(SystemError) {
        let family = endpoint.address.isIPv6 ? AF_INET6 : AF_INET
        let type = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
        let listener = FileDescriptor(owning: try check("socket") { socket(family, type, 0) })
        let raw = listener.raw
        var isOn: Int32 = 1
        unsafe setsockopt(raw, SOL_SOCKET, SO_REUSEADDR, &isOn, socklen_t(MemoryLayout<Int32>.size))
        var address = [UInt8](repeating: 0, count: SocketAddress.size)
        let length = unsafe address.withUnsafeMutableBytes { unsafe SocketAddress.store(endpoint, to: $0.baseAddress!) }
        _ = try check("bind \(endpoint)") {
            unsafe address.withUnsafeBytes {
                unsafe bind(raw, $0.assumingMemoryBound(to: sockaddr.self).baseAddress, length)
            }
        }
        _ = try check("listen \(endpoint)") { Glibc.listen(raw, 16) }
        var size = socklen_t(SocketAddress.size)
        _ = try check("getsockname") {
            unsafe address.withUnsafeMutableBytes {
                unsafe getsockname(raw, $0.assumingMemoryBound(to: sockaddr.self).baseAddress, &size)
            }
        }
        self.endpoint =
            unsafe address.withUnsafeBytes { unsafe SocketAddress.load($0.baseAddress!, length: Int(size)) } ?? endpoint
        self.listener = listener
        self.status = status
        stopping = try EventFD()
    }

    package func stop() { stopping.signal() }

    /// Serves until `stop`.
    package func run() throws(SystemError) {
        let epoll = try Epoll()
        try epoll.add(stopping.raw, .read, token: 0)
        try epoll.add(listener.raw, .read, token: 1)
        var connections: [UInt64: HTTPConnection] = [:]
        var next: UInt64 = 2
        while true {
            let events = try epoll.wait(timeout: connections.isEmpty ? nil : .seconds(1))
            for event in events {
                switch event.token {
                case 0: return
                case 1:
                    let raw = CLinux_accept4(listener.raw, Int32(SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue))
                    guard raw >= 0 else { continue }
                    if connections.count >= Self.connectionLimit, let oldest = connections.keys.min() {
                        connections[oldest] = nil
                    }
                    connections[next] = HTTPConnection(FileDescriptor(owning: raw), until: .now() + Self.patience)
                    do { try epoll.add(raw, .read, token: next) } catch { connections[next] = nil }
                    next += 1
                case let token:
                    if connections[token]?.isDone(answer) ?? false { connections[token] = nil }
                }
            }
            let now = MonotonicTime.now()
            connections = connections.filter { $0.value.deadline > now }
        }
    }

    private func answer(_ target: String) -> HTTPConnection.Answer {
        let state = status.snapshot
        return switch target {
        case "/healthz": HTTPConnection.Answer(state.isReady ? "200 OK" : "503 Service Unavailable", state.json + "\n")
        case "/metrics": HTTPConnection.Answer("200 OK", state.metrics, type: "text/plain; version=0.0.4")
        default: HTTPConnection.Answer("404 Not Found", #"{"error":"not found"}"# + "\n")
        }
    }
}
