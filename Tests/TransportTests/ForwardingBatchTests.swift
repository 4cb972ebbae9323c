import Addressing
import Linux
import Testing
import Transport

/// A relay in small: what one socket receives in pooled buffers, it sends on from there.
@Suite struct ForwardingBatchTests {
    @Test(arguments: [AddressFamily.ipv4, .ipv6])
    func `a run that came in as one message goes out as one, from the same memory`(family: AddressFamily) throws {
        let (sender, _) = try loopback(family)
        let (relay, relayEndpoint) = try loopback(family)
        let (receiver, destination) = try loopback(family)
        relay.socket.enableReceiveOffload()
        receiver.socket.enableReceiveOffload()
        var table = SocketTable()
        table[0] = sender.socket.raw
        var sending = try SendBatch()
        let datagrams = (0..<44).map { pattern($0, $0 == 43 ? 700 : 1472) }
        for datagram in datagrams { queue(datagram, to: relayEndpoint, in: &sending, through: table) }
        _ = sending.flush(through: table)

        var pool = try PacketPool(buffers: 4, bufferSize: PooledReceiveBatch.bufferSize)
        var receiving = PooledReceiveBatch(messages: 2)
        var forwarding = BorrowedSendBatch(messages: 4)
        waitReadable(relay.socket.raw, milliseconds: 1000)
        #expect(receiving.receive(from: relay.socket.raw, into: &pool) == 1)
        guard let message = receiving.message(0, in: pool) else {
            Issue.record("no message")
            return
        }
        #expect(message.segmentSize == 1472)
        #expect(message.datagrams == 44)
        unsafe forwarding.append(message.bytes, segmentSize: message.segmentSize, to: destination)
        table[0] = relay.socket.raw
        let sent = forwarding.flush(through: table)
        #expect(sent.messages == 1 && sent.datagrams == 44 && sent.dropped == 0 && sent.blocked == nil)
        pool.give(receiving.buffer(0))
        #expect(pool.available == 4)

        var batch = try ReceiveBatch()
        let received = receive(44, from: receiver.socket, with: &batch)
        #expect(received.map(\.bytes) == datagrams)
        #expect(received.allSatisfy { $0.source == relayEndpoint && $0.messageSize == 43 * 1472 + 700 })
    }

    @Test func `buffers that are kept are not received into, and without buffers nothing is`() throws {
        let (sender, _) = try loopback(.ipv4)
        let (receiver, destination) = try loopback(.ipv4)
        for number in 0..<6 { sender.socket.send(pattern(number, 100), to: destination) }
        var pool = try PacketPool(buffers: 4, bufferSize: PooledReceiveBatch.bufferSize)
        var receiving = PooledReceiveBatch(messages: 3)
        var kept: [(buffer: UInt32, bytes: [UInt8])] = []
        waitReadable(receiver.socket.raw, milliseconds: 1000)
        for expected in [3, 1, 0] {
            #expect(receiving.receive(from: receiver.socket.raw, into: &pool) == expected)
            for index in 0..<receiving.count {
                guard let message = receiving.message(index, in: pool) else { continue }
                kept.append((receiving.buffer(index), unsafe Array(message.bytes)))
            }
        }
        #expect(kept.map(\.bytes) == (0..<4).map { pattern($0, 100) })
        for (buffer, bytes) in kept { #expect(unsafe Array(pool.bytes(buffer)[..<100]) == bytes) }
        for (buffer, _) in kept { pool.give(buffer) }
        #expect(receiving.receive(from: receiver.socket.raw, into: &pool) == 2)
        #expect(unsafe Array(pool.bytes(receiving.buffer(1))[..<100]) == pattern(5, 100))
    }

    @Test func `no more is received than asked for, into the buffers that were free last`() throws {
        let (sender, _) = try loopback(.ipv4)
        let (receiver, destination) = try loopback(.ipv4)
        for number in 0..<5 { sender.socket.send(pattern(number, 100), to: destination) }
        var pool = try PacketPool(buffers: 4, bufferSize: PooledReceiveBatch.bufferSize)
        var receiving = PooledReceiveBatch(messages: 4)
        waitReadable(receiver.socket.raw, milliseconds: 1000)
        var buffers: [[UInt32]] = []
        for expected in [2, 2, 1, 0] {
            #expect(receiving.receive(from: receiver.socket.raw, into: &pool, limit: 2) == expected)
            buffers.append((0..<receiving.count).map { receiving.buffer($0) })
            for buffer in buffers[buffers.count - 1].reversed() { pool.give(buffer) }
            #expect(pool.available == 4)
        }
        #expect(buffers[1] == buffers[0] && buffers[2] == [buffers[0][0]])
        #expect(receiving.receive(from: -1, into: &pool) == 0 && pool.available == 4)
    }

    @Test func `segments that do not fit the path go out singly, and in order`() throws {
        try inIsolatedNetwork("mtu 1280") {
            let (sender, _) = try loopback(.ipv4)
            let (receiver, destination) = try loopback(.ipv4)
            var bytes = (0..<5).flatMap { pattern($0, 1500) } + pattern(5, 20)
            var forwarding = BorrowedSendBatch()
            var table = SocketTable()
            table[0] = sender.socket.raw
            let sent = unsafe bytes.withUnsafeMutableBytes { bytes in
                unsafe forwarding.append(bytes, segmentSize: 1500, to: destination)
                return forwarding.flush(through: table)
            }
            #expect(sent.datagrams == 6 && sent.messages == 1 && sent.dropped == 0)
            var batch = try ReceiveBatch()
            let received = receive(6, from: receiver.socket, with: &batch)
            #expect(received.map(\.bytes) == (0..<5).map { pattern($0, 1500) } + [pattern(5, 20)])
        }
    }
}
