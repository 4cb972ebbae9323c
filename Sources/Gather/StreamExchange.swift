import Addressing
import Glibc
import Linux
import PortMapping
import Timing
import Transport

/// One request and its HTTP answer over a TCP connection of its own, without blocking: bounded in size and time.
///
/// Owned by the loop whose epoll the descriptor is in. The descriptor is closed when it goes.
final class StreamExchange {
    let number: Int
    let deadline: MonotonicTime
    private let descriptor: FileDescriptor
    private var unsent: ArraySlice<UInt8>
    private var received: [UInt8] = []

    /// Starts to connect; nil when that is refused at once.
    init?(number: Int, to endpoint: Endpoint, request: [UInt8], now: MonotonicTime) {
        let raw = socket(
            endpoint.address.isIPv6 ? AF_INET6 : AF_INET,
            Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), Int32(IPPROTO_TCP))
        guard raw >= 0 else { return nil }
        descriptor = FileDescriptor(owning: raw)
        self.number = number
        deadline = now + HTTPResponse.timeout
        unsent = request[...]
        var name = SIMD32<UInt8>()
        let result = unsafe withUnsafeMutableBytes(of: &name) { name -> Int32 in
            guard let address = name.baseAddress else { return -1 }
            let length = unsafe SocketAddress.store(endpoint, to: address)
            return unsafe connect(raw, address.assumingMemoryBound(to: sockaddr.self), length)
        }
        if result != 0, errno != EINPROGRESS { return nil }
    }

    var raw: Int32 { descriptor.raw }

    /// Sends and receives what can be, now that the descriptor is ready: nil while there is more to come, then the
    /// answer, or `.malformed` for none.
    func advance() -> HTTPResponse.Reading? {
        while !unsent.isEmpty {
            let sent = unsafe unsent.withUnsafeBytes {
                unsafe Glibc.send(raw, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            if sent < 0 { return errno == EAGAIN || errno == EINTR ? nil : .malformed }
            unsent = unsent.dropFirst(sent)
        }
        var chunk = [UInt8](repeating: 0, count: 4096)
        while received.count <= HTTPResponse.sizeLimit {
            let count = unsafe chunk.withUnsafeMutableBytes { unsafe recv(raw, $0.baseAddress, $0.count, 0) }
            if count < 0 {
                if errno == EAGAIN || errno == EINTR { break }
                return .malformed
            }
            received += chunk.prefix(count)
            if count == 0 { return HTTPResponse.read(received, isEnded: true) }
        }
        let reading = HTTPResponse.read(received, isEnded: false)
        return reading == .incomplete ? nil : reading
    }
}
