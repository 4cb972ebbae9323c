import Addressing
import Glibc
import Linux
import TestSupport
import Testing
import Transport

@Suite struct DatagramBatchTests {
    @Test(arguments: [AddressFamily.ipv4, .ipv6])
    func `28,000 bytes leave as one segmented send and arrive as one receive`(family: AddressFamily) throws {
        let (sender, source) = try loopback(family)
        let (receiver, destination) = try loopback(family)
        #expect(sender.socket.supportsSegmentation == true)
        #expect(receiver.socket.enableReceiveOffload() == true)
        var table = SocketTable()
        table[0] = sender.socket.raw
        var sending = try SendBatch()
        let datagrams = (0..<20).map { pattern($0, 1400) }
        for datagram in datagrams { queue(datagram, to: destination, in: &sending, through: table) }
        #expect(sending.pendingMessages == 1)
        #expect(sending.pendingBytes == 28000)
        let sent = sending.flush(through: table)
        #expect(sent.datagrams == 20)
        #expect(sent.bytes == 28000)
        #expect(sent.dropped == 0)
        #expect(sending.isEmpty == true)

        var receiving = try ReceiveBatch()
        let received = receive(20, from: receiver.socket, with: &receiving)
        #expect(received.map(\.bytes) == datagrams)
        #expect(received.allSatisfy { $0.source == source && $0.messageSize == 28000 })
    }

    @Test(arguments: [AddressFamily.ipv4, .ipv6])
    func `a receiver without GRO gets the same datagrams`(family: AddressFamily) throws {
        let (sender, _) = try loopback(family)
        let (receiver, destination) = try loopback(family)
        var table = SocketTable()
        table[0] = sender.socket.raw
        var sending = try SendBatch()
        let datagrams = (0..<70).map { pattern($0, $0 == 69 ? 33 : 800) }
        for datagram in datagrams { queue(datagram, to: destination, in: &sending, through: table) }
        // 64 datagrams a message.
        #expect(sending.pendingMessages == 2)
        let sent = sending.flush(through: table)
        #expect(sent.datagrams == 70)
        var receiving = try ReceiveBatch(messages: 8)
        #expect(receive(70, from: receiver.socket, with: &receiving).map(\.bytes) == datagrams)
    }

    @Test func `datagrams of many sizes to many endpoints of both families arrive whole and in order`() throws {
        var random = SeededRandom(seed: 11)
        let (sender4, _) = try loopback(.ipv4)
        let (sender6, _) = try loopback(.ipv6)
        var table = SocketTable()
        table[0] = sender4.socket.raw
        table[1] = sender6.socket.raw
        let receivers = try (0..<6).map { try loopback($0 % 2 == 0 ? .ipv4 : .ipv6) }
        for receiver in receivers { receiver.socket.socket.enableReceiveOffload() }
        var expected = [[[UInt8]]](repeating: [], count: receivers.count)
        var sending = try SendBatch()
        for _ in 0..<60 {
            let index = Int.random(in: 0..<receivers.count, using: &random)
            let size = [1, 32, 80, 148, 1452, 9000].randomElement(using: &random) ?? 1
            for number in 0..<Int.random(in: 1...6, using: &random) {
                let datagram = pattern(number, Bool.random(using: &random) ? size : max(1, size / 2))
                expected[index].append(datagram)
                queue(
                    datagram, to: receivers[index].endpoint, socket: UInt8(index % 2), in: &sending, through: table)
            }
        }
        let sent = sending.flush(through: table)
        #expect(sent.dropped == 0)
        #expect(sent.blocked == nil)
        var receiving = try ReceiveBatch()
        for (index, receiver) in receivers.enumerated() {
            let received = receive(expected[index].count, from: receiver.socket.socket, with: &receiving)
            #expect(received.map(\.bytes) == expected[index])
        }
    }

    @Test func `a shorter datagram ends a message, a longer one starts another`() throws {
        let (_, destination) = try loopback(.ipv4)
        let table = SocketTable()
        var sending = try SendBatch()
        for size in [100, 100, 99, 100, 101, 101] {
            queue(pattern(0, size), to: destination, in: &sending, through: table)
        }
        #expect(sending.pendingMessages == 3)
        queue(pattern(0, 101), to: destination, socket: 1, in: &sending, through: table)
        #expect(sending.pendingMessages == 4)
        queue(pattern(0, 101), to: Endpoint(destination.address, port: 9), socket: 1, in: &sending, through: table)
        #expect(sending.pendingMessages == 5)
        sending.discard()
        #expect(sending.isEmpty == true)
        #expect(sending.pendingBytes == 0)
    }

    @Test func `a message stays within 65,000 bytes`() throws {
        let (_, destination) = try loopback(.ipv4)
        let table = SocketTable()
        var sending = try SendBatch()
        for _ in 0..<45 { queue(pattern(0, 1452), to: destination, in: &sending, through: table) }
        #expect(sending.pendingMessages == 2)
        #expect(sending.pendingBytes == 45 * 1452)
    }

    @Test func `a batch with no room says so until it is flushed`() throws {
        let (sender, _) = try loopback(.ipv4)
        let (receiver, destination) = try loopback(.ipv4)
        var table = SocketTable()
        table[0] = sender.socket.raw
        var sending = try SendBatch(byteCount: 4096, messages: 2)
        let first = unsafe sending.reserve(4097)
        let isRefused = unsafe first == nil
        #expect(isRefused)
        for size in [100, 200] { queue(pattern(1, size), to: destination, in: &sending, through: table) }
        let full = unsafe sending.reserve(1) == nil
        #expect(full)
        _ = sending.flush(through: table)
        let free = unsafe sending.reserve(4096) != nil
        #expect(free)
        var receiving = try ReceiveBatch()
        #expect(receive(2, from: receiver.socket, with: &receiving).map(\.bytes.count) == [100, 200])
    }

    @Test func `what can't be sent is dropped, and the rest goes out`() throws {
        let (sender, _) = try loopback(.ipv4)
        let (receiver, destination) = try loopback(.ipv4)
        var table = SocketTable()
        table[0] = sender.socket.raw
        var sending = try SendBatch()
        queue(pattern(1, 50), to: destination, in: &sending, through: table)
        // An IPv6 endpoint through an IPv4 socket, port 0, and a socket that is not there.
        queue(pattern(2, 50), to: Endpoint(.v6(.loopback), port: 9), in: &sending, through: table)
        queue(pattern(3, 50), to: Endpoint(destination.address, port: 0), in: &sending, through: table)
        queue(pattern(4, 50), to: destination, socket: 7, in: &sending, through: table)
        queue(pattern(4, 50), to: destination, socket: 200, in: &sending, through: table)
        queue(pattern(5, 50), to: destination, in: &sending, through: table)
        let sent = sending.flush(through: table)
        #expect(sent.datagrams == 2)
        #expect(sent.dropped == 4)
        #expect(sent.error != nil)
        var receiving = try ReceiveBatch()
        #expect(receive(2, from: receiver.socket, with: &receiving).map(\.bytes) == [pattern(1, 50), pattern(5, 50)])
    }

    @Test func `a closed port of a peer never disturbs the socket`() throws {
        let (sender, source) = try loopback(.ipv4)
        let closed: Endpoint
        do { closed = try loopback(.ipv4).endpoint }
        for _ in 0..<5 { #expect(sender.socket.send(pattern(0, 10), to: closed) == nil) }
        var receiving = try ReceiveBatch()
        #expect(receive(1, from: sender.socket, with: &receiving).isEmpty)
        let (other, _) = try loopback(.ipv4)
        #expect(other.socket.send(pattern(6, 10), to: source) == nil)
        #expect(receive(1, from: sender.socket, with: &receiving).map(\.bytes) == [pattern(6, 10)])
        #expect(receiving.errors == 0)
    }

    @Test func `a socket that can't segment sends datagrams singly`() throws {
        let (sender, _) = try loopback(.ipv4)
        let (receiver, destination) = try loopback(.ipv4)
        var table = SocketTable()
        table[0] = sender.socket.raw
        var sending = try SendBatch()
        sending.setSegmentation(false, socket: 0)
        #expect(sending.segments(0) == false)
        for number in 0..<5 { queue(pattern(number, 1000), to: destination, in: &sending, through: table) }
        #expect(sending.pendingMessages == 5)
        let sent = sending.flush(through: table)
        #expect(sent.datagrams == 5)
        var receiving = try ReceiveBatch()
        #expect(receive(5, from: receiver.socket, with: &receiving).map(\.bytes) == (0..<5).map { pattern($0, 1000) })
        sending.setSegmentation(true, socket: 0)
        #expect(sending.segments(0) == true)
    }
}
