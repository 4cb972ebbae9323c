import Addressing
import Glibc
import Linux
import Testing
import Transport

/// What happens when the kernel takes less than it is given. In network namespaces of their own: as root.
@Suite struct BackPressureTests {
    @Test func `segments larger than the path's MTU go out singly, as fragments`() throws {
        try inIsolatedNetwork("mtu 1280") {
            for family in [AddressFamily.ipv4, .ipv6] {
                let (sender, _) = try loopback(family)
                let (receiver, destination) = try loopback(family)
                var table = SocketTable()
                table[0] = sender.socket.raw
                var sending = try SendBatch()
                let datagrams = (0..<8).map { pattern($0, 1400) }
                for datagram in datagrams { queue(datagram, to: destination, in: &sending, through: table) }
                #expect(sending.pendingMessages == 1)
                let sent = sending.flush(through: table)
                #expect(sent.datagrams == 8)
                #expect(sent.dropped == 0)
                var receiving = try ReceiveBatch()
                #expect(receive(8, from: receiver.socket, with: &receiving).map(\.bytes) == datagrams)
                // The path's fault, not the socket's.
                #expect(sending.segments(0) == true)
            }
        }
    }

    @Test func `a full socket keeps the rest for the next flush`() throws {
        try inIsolatedNetwork("mtu 65536") {
            try run("ip link add warren-test0 type veth peer name warren-test1")
            try run("ip address add 192.0.2.1/24 dev warren-test0")
            try run("ip link set warren-test1 up")
            try run("ip link set warren-test0 up")
            // Nobody answers for this address: what is sent waits in the socket's buffer.
            let destination = Endpoint(.v4(IPv4Address(192, 0, 2, 2)), port: 9)
            let socket = try UDPSocket(.ipv4)
            var small: Int32 = 60_000
            let limited = unsafe setsockopt(socket.raw, SOL_SOCKET, SO_SNDBUF, &small, 4)
            #expect(limited == 0)
            var table = SocketTable()
            table[3] = socket.raw
            var sending = try SendBatch(byteCount: 1 << 20)
            var queued = 0
            while let space = unsafe sending.reserve(1400) {
                unsafe space.initializeMemory(as: UInt8.self, repeating: 1)
                sending.commit(1400, to: destination, socket: 3)
                queued += 1
            }
            let first = sending.flush(through: table)
            #expect(first.blocked == 3)
            #expect(first.dropped == 0)
            #expect(first.datagrams > 0 && first.datagrams < queued)
            #expect(sending.pendingBytes == 1400 * (queued - first.datagrams))
            let again = sending.flush(through: table)
            #expect(again.blocked == 3)
            #expect(again.datagrams == 0)

            try run("ip neighbour replace 192.0.2.2 lladdr 02:00:00:00:00:02 dev warren-test0 nud permanent")
            var total = first.datagrams
            for _ in 0..<1000 {
                let sent = sending.flush(through: table)
                #expect(sent.dropped == 0)
                total += sent.datagrams
                if sent.blocked == nil { break }
                var wait = pollfd(fd: socket.raw, events: Int16(POLLOUT), revents: 0)
                _ = unsafe poll(&wait, 1, 1000)
            }
            #expect(sending.isEmpty == true)
            #expect(total == queued)
        }
    }
}
