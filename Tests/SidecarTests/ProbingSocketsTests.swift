import Addressing
import Testing
import Timing
import Traversal
import Transport

@testable import Sidecar

/// Sockets for probing, on loopback.
@Suite struct ProbingSocketsTests {
    private let loopback = IPAddress.v4(IPv4Address(127, 0, 0, 1))

    /// What came in within a second; stops at `count` datagrams.
    private func receive(_ sockets: ProbingSockets, count: Int) -> [(
        bytes: [UInt8], socket: SocketID, source: Endpoint
    )] {
        var received: [(bytes: [UInt8], socket: SocketID, source: Endpoint)] = []
        let end = MonotonicTime.now() + .seconds(1)
        while received.count < count, MonotonicTime.now() < end { received += sockets.receive() }
        return received
    }

    @Test func `256 sockets receive each what is for it, and a closed one nothing`() throws {
        let sockets = try ProbingSockets()
        let peer = try UDPSocket(.ipv4, address: loopback)
        let target = Endpoint(loopback, port: peer.port)
        let ids = (2..<258).map { SocketID(number: $0) }
        for id in ids {
            #expect(sockets.open(id))
            sockets.send(Array("\(id.number)".utf8), from: id, to: target, hops: 2)
        }
        var ports: [SocketID: Endpoint] = [:]
        var buffer = [UInt8](repeating: 0, count: 64)
        for _ in ids {
            let datagram = try #require(unsafe buffer.withUnsafeMutableBytes { unsafe peer.receive(into: $0) })
            let number = UInt32(String(decoding: buffer.prefix(datagram.length), as: UTF8.self))
            ports[SocketID(number: try #require(number))] = datagram.source
        }
        #expect(Set(ports.values).count == 256)
        #expect(sockets.close(ids[0]) == nil)
        for (id, endpoint) in ports { peer.send(Array("\(id.number)".utf8), to: endpoint) }
        let received = receive(sockets, count: 255)
        #expect(received.count == 255)
        #expect(received.allSatisfy { $0.bytes == Array("\($0.socket.number)".utf8) && $0.source == target })
        #expect(!received.contains { $0.socket == ids[0] })
    }
}
