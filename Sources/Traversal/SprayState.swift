import Addressing
import Timing

/// Probes to the ports that a peer may wait behind: each port once in an order that looks random, and a few ports again
/// because packets get lost.
struct SprayState {
    let opened: Call.Opened
    let sockets: [SocketID]
    /// Those of the sockets that were opened for this.
    let ownSockets: [SocketID]
    /// One transaction for the probes of a tick, and where they went.
    var batches: [(transaction: UInt64, sent: MonotonicTime, routes: [Route])] = []
    var index = 0
    var next: MonotonicTime
    /// A pong came.
    var isOver = false
    private let offset: Int
    private let stride: Int

    /// - Parameter seed: decides the order; nil to send in that of the ports, as from behind a sequential NAT, whose ports
    ///   the peer expects in this order.
    init(_ opened: Call.Opened, sockets: [SocketID], ownSockets: [SocketID], seed: UInt64?, now: MonotonicTime) {
        self.opened = opened
        self.sockets = sockets
        self.ownSockets = ownSockets
        next = now
        let count = Int(opened.count)
        guard let seed, count > 2 else {
            (offset, stride) = (0, 1)
            return
        }
        offset = Int(seed % UInt64(count))
        var stride = Int(seed >> 32 % UInt64(count)) | 1
        while Self.commonDivisor(stride, count) != 1 { stride += 2 }
        self.stride = stride
    }

    /// How often each port is tried.
    var passes: Int { max(1, min(3, 192 / max(Int(opened.count), 1))) }

    var total: Int { min(Int(opened.count) * sockets.count * passes, Limits.sprayProbes) }

    /// Where probe `number` goes; nil where there is no such port, or one that NATs do not give.
    func route(_ number: Int) -> Route? {
        let count = Int(opened.count)
        let position = number / sockets.count % count
        let place = (offset + position * stride) % count
        guard let port = UInt16(exactly: Int(opened.first.port) + place * Int(opened.step)), port >= 1024 else {
            return nil
        }
        return Route(sockets[number % sockets.count], Endpoint(opened.first.address, port: port))
    }

    private static func commonDivisor(_ a: Int, _ b: Int) -> Int { b == 0 ? a : commonDivisor(b, a % b) }
}
