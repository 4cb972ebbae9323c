import Addressing
import Glibc

/// Datagrams between two pods by their virtual addresses, answered by the peer: who has heard what, and when.
///
/// Both sockets are this process's, so that one clock stamps both ends. Not safe for concurrent use.
package final class Exchange {
    private let here: PlacedSocket
    private let there: PlacedSocket
    private let target: Endpoint
    private var serial: UInt64 = 0
    private var nextSend = 0.0
    /// When the first datagram went out, when the first came in at the peer, and when the first answer was back.
    package private(set) var began: Double?
    package private(set) var firstByte: Double?
    package private(set) var firstReply: Double?
    /// The serial numbers of the answers.
    package private(set) var answered: Set<UInt64> = []
    /// When answers came.
    package private(set) var arrivals: [Double] = []
    package var sent: UInt64 { serial }

    /// - Parameters:
    ///   - from, to: pods, with their virtual addresses.
    package init(from caller: Pod, _ address: String, to peer: Pod, _ peerAddress: String) throws {
        here = try PlacedSocket.bind(in: caller.namespace, address)
        there = try PlacedSocket.bind(in: peer.namespace, peerAddress)
        guard let address = IPAddress(peerAddress) else { throw LabError.unexpected("\(peerAddress) is no address") }
        target = Endpoint(address, port: there.port)
    }

    /// Sends every `interval` seconds, and answers and stamps what comes, until `deadline` or until `isEnough`.
    package func run(until deadline: Double, every interval: Double, _ isEnough: () -> Bool = { false }) {
        while Clock.now < deadline, !isEnough() {
            let now = Clock.now
            if now >= nextSend {
                if began == nil { began = now }
                serial += 1
                here.send((0..<8).map { UInt8(truncatingIfNeeded: serial >> (8 * $0)) }, to: target)
                nextSend = now + interval
            }
            wait(until: min(nextSend, deadline))
            take()
        }
    }

    private func wait(until time: Double) {
        var events = [here, there].map { pollfd(fd: $0.raw, events: Int16(POLLIN), revents: 0) }
        let left = max(0, time - Clock.now)
        _ = unsafe poll(&events, nfds_t(events.count), Int32((left * 1000).rounded(.up)))
    }

    private func take() {
        while let (bytes, source) = there.receive(timeout: 0) {
            if firstByte == nil { firstByte = Clock.now }
            there.send(bytes, to: source)
        }
        while let (bytes, _) = here.receive(timeout: 0) {
            let now = Clock.now
            if firstReply == nil { firstReply = now }
            if answered.insert(bytes.prefix(8).reversed().reduce(0) { $0 << 8 | UInt64($1) }).inserted {
                arrivals.append(now)
            }
        }
    }
}
