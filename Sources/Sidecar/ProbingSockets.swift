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

    func close(_ id: SocketID, _ core: inout TunnelCore) {
        if let index = adopted.removeValue(forKey: id) { core.release(index) }
        remove(id)
    }

    private func remove(_ id: SocketID) {
        guard let entry = entries.removeValue(forKey: id), let socket = entry.socket.take() else { return }
        try? epoll.remove(socket.raw)
    }

    /// Makes the socket one of the tunnel's; its index there, or nil when it has no place.
    func adopt(_ id: SocketID, _ core: inout TunnelCore) -> UInt8? {
        guard let entry = entries.removeValue(forKey: id), let socket = entry.socket.take() else { return nil }
        try? epoll.remove(socket.raw)
        guard let index = core.adopt(socket) else { return nil }
        adopted[id] = index
        return index
    }

    /// Sends one datagram; what does not go at once is lost, as probes may be.
    func send(_ bytes: [UInt8], from id: SocketID, to endpoint: Endpoint, hops: UInt8?, _ core: inout TunnelCore) {
        if let index = adopted[id] {
            if let hops {
                core.send(bytes, to: endpoint, socket: index, hops: hops)
            } else {
                core.sendRaw(bytes, to: endpoint, socket: index)
            }
        } else {
            entries[id]?.socket?.send(bytes, to: endpoint, ttl: hops)
        }
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
