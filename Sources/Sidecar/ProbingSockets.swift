import Addressing
import Linux
import Timing
import Traversal
import Transport
import Tunnel

/// The sockets that the engine asked for beside the home sockets, until they are adopted by the tunnel or closed.
///
/// A few hundred for some seconds, each for a handful of datagrams: read one by one, on the tunnel's control thread, which
/// owns them.
final class ProbingSockets {
    /// How many there may be: what one birthday needs, and what measures meanwhile.
    static let limit = 264
    /// Datagrams that are read in one turn, so that a flood does not keep the thread.
    private static let turnLimit = 256

    private final class Entry {
        var socket: UDPSocket?
        init(_ socket: consuming UDPSocket) { self.socket = consume socket }
    }

    private let epoll: Epoll
    private var entries: [SocketID: Entry] = [:]
    private var adopted: [SocketID: UInt8] = [:]
    private var buffer = [UInt8](repeating: 0, count: 2048)

    init() throws(SystemError) { epoll = try Epoll() }

    /// What says that there is something to read.
    var raw: Int32 { epoll.raw }

    /// False when there is no descriptor or port for it.
    func open(_ id: SocketID) -> Bool {
        guard let socket = try? UDPSocket(.ipv4) else { return false }
        guard (try? epoll.add(socket.raw, .read, token: UInt64(id.number))) != nil else { return false }
        entries[id] = Entry(socket)
        return true
    }

    /// Closes it; the tunnel's index of one that was adopted, for the tunnel to release.
    func close(_ id: SocketID) -> UInt8? {
        if let socket = take(id) { try? epoll.remove(socket.raw) }
        return adopted.removeValue(forKey: id)
    }

    private func take(_ id: SocketID) -> UDPSocket? { entries.removeValue(forKey: id)?.socket.take() }

    /// Makes the socket one of the tunnel's; its index there, or nil when it has no place.
    func adopt(_ id: SocketID, _ core: inout TunnelCore) -> UInt8? {
        guard let socket = take(id) else { return nil }
        try? epoll.remove(socket.raw)
        guard let index = core.adopt(socket) else { return nil }
        adopted[id] = index
        return index
    }

    /// The index in the tunnel of one that was adopted.
    func index(of id: SocketID) -> UInt8? { adopted[id] }

    /// Sends one datagram from one that was not adopted; what does not go at once is lost, as probes may be.
    func send(_ bytes: [UInt8], from id: SocketID, to endpoint: Endpoint, hops: UInt8?) {
        entries[id]?.socket?.send(bytes, to: endpoint, ttl: hops)
    }

    /// What came in, some of it.
    func receive() -> [(bytes: [UInt8], socket: SocketID, source: Endpoint)] {
        guard !entries.isEmpty, let ready = try? epoll.wait(timeout: .zero) else { return [] }
        var datagrams: [(bytes: [UInt8], socket: SocketID, source: Endpoint)] = []
        for event in ready {
            let id = SocketID(number: UInt32(truncatingIfNeeded: event.token))
            while datagrams.count < Self.turnLimit, let entry = entries[id] {
                let received = unsafe buffer.withUnsafeMutableBytes { unsafe entry.socket?.receive(into: $0) ?? nil }
                guard let received else { break }
                datagrams.append((Array(buffer.prefix(received.length)), id, received.source))
            }
        }
        return datagrams
    }
}
