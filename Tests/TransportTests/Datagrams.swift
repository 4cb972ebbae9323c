import Addressing
import Glibc
import Linux
import Transport

/// A home socket on the loopback interface, and its endpoint.
func loopback(_ family: AddressFamily) throws -> (socket: UDPSocketBox, endpoint: Endpoint) {
    let address: IPAddress = family == .ipv6 ? .v6(.loopback) : .v4(IPv4Address(127, 0, 0, 1))
    let box = UDPSocketBox(try UDPSocket(family, address: address))
    return (box, Endpoint(address, port: box.socket.port))
}

/// A socket that can be part of a tuple.
final class UDPSocketBox: Sendable {
    let socket: UDPSocket
    init(_ socket: consuming UDPSocket) { self.socket = socket }
}

struct Received: Equatable {
    var bytes: [UInt8]
    var source: Endpoint
    var messageSize: Int
}

/// Datagrams that arrive within a second, up to `count`.
func receive(_ count: Int, from socket: borrowing UDPSocket, with batch: inout ReceiveBatch) -> [Received] {
    var received: [Received] = []
    var waits = 0
    while received.count < count, waits < 100 {
        let messages = batch.receive(from: socket)
        if messages == 0 {
            waits += 1
            waitReadable(socket.raw, milliseconds: 10)
        }
        for index in 0..<messages {
            guard var message = batch.message(index) else { continue }
            let size = unsafe message.bytes.count
            while let datagram = unsafe message.next() {
                received.append(Received(bytes: unsafe Array(datagram), source: message.source, messageSize: size))
            }
        }
    }
    return received
}

func waitReadable(_ raw: Int32, milliseconds: Int32) {
    var wait = pollfd(fd: raw, events: Int16(POLLIN), revents: 0)
    _ = unsafe poll(&wait, 1, milliseconds)
}

/// Queues one datagram, flushing when there is no room.
func queue(
    _ bytes: [UInt8], to endpoint: Endpoint, socket: UInt8 = 0, in batch: inout SendBatch, through table: SocketTable
) {
    if unsafe batch.reserve(bytes.count) == nil { _ = batch.flush(through: table) }
    guard let space = unsafe batch.reserve(bytes.count) else { return }
    unsafe space.copyBytes(from: bytes)
    batch.commit(bytes.count, to: endpoint, socket: socket)
}

/// `count` bytes that tell which datagram they are.
func pattern(_ number: Int, _ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ number) } }
