import Addressing
import Glibc
import Linux
import Testing
import Transport

@Suite struct UDPSocketTests {
    @Test(arguments: [AddressFamily.ipv4, .ipv6])
    func `port 0 is any free port, and a port is taken once`(family: AddressFamily) throws {
        let (first, endpoint) = try loopback(family)
        #expect(first.socket.port != 0)
        #expect(throws: TransportError.portInUse(endpoint)) {
            _ = try UDPSocket(family, address: endpoint.address, port: endpoint.port)
        }
    }

    @Test func `an IPv4 and an IPv6 socket share a port number`() throws {
        let six = try UDPSocket(.ipv6)
        let four = try UDPSocket(.ipv4, port: six.port)
        #expect(four.port == six.port)
    }

    @Test func `a foreign address is refused by name`() throws {
        let endpoint = try #require(Endpoint("192.0.2.77:0"))
        #expect(throws: TransportError.addressNotAvailable(endpoint)) {
            _ = try UDPSocket(.ipv4, address: endpoint.address)
        }
        #expect("\(TransportError.addressNotAvailable(endpoint))" == "bind 192.0.2.77:0: not an address of this host")
    }

    @Test(arguments: [AddressFamily.ipv4, .ipv6])
    func `one datagram goes there and back`(family: AddressFamily) throws {
        let (first, firstEndpoint) = try loopback(family)
        let (second, secondEndpoint) = try loopback(family)
        let error = first.socket.send(pattern(1, 100), to: secondEndpoint)
        #expect(error == nil)
        waitReadable(second.socket.raw, milliseconds: 1000)
        var buffer = [UInt8](repeating: 0, count: 2000)
        let received = unsafe buffer.withUnsafeMutableBytes { unsafe second.socket.receive(into: $0) }
        #expect(received?.length == 100)
        #expect(received?.source == firstEndpoint)
        #expect(Array(buffer.prefix(100)) == pattern(1, 100))
        let nothing = unsafe buffer.withUnsafeMutableBytes { unsafe second.socket.receive(into: $0) }
        #expect(nothing == nil)
    }

    @Test(arguments: [AddressFamily.ipv4, .ipv6])
    func `a datagram carries the hop limit of its send only`(family: AddressFamily) throws {
        let (sender, _) = try loopback(family)
        let (receiver, destination) = try loopback(family)
        var on: Int32 = 1
        let level = family == .ipv6 ? Int32(IPPROTO_IPV6) : Int32(IPPROTO_IP)
        let option = family == .ipv6 ? IPV6_RECVHOPLIMIT : IP_RECVTTL
        #expect(unsafe setsockopt(receiver.socket.raw, level, option, &on, 4) == 0)
        #expect(sender.socket.send(pattern(1, 8), to: destination, ttl: 3) == nil)
        #expect(sender.socket.send(pattern(2, 8), to: destination) == nil)
        #expect(receiveHopLimit(receiver.socket.raw) == 3)
        #expect(receiveHopLimit(receiver.socket.raw) == 64)
    }

    @Test func `buffers are enlarged as far as permitted`() throws {
        let socket = try UDPSocket(.ipv4)
        let sizes = socket.bufferSizes
        let expected = geteuid() == 0 ? Int(UDPSocket.bufferSize) : 200_000
        #expect(sizes.receive >= expected)
        #expect(sizes.send >= expected)
    }

    @Test func `the mark is set with the capability for it`() throws {
        try #require(geteuid() == 0, "this test must run as root")
        let socket = try UDPSocket(.ipv4)
        #expect(socket.setMark(0xca6c) == true)
        var mark: UInt32 = 0
        var length: socklen_t = 4
        #expect(unsafe getsockopt(socket.raw, SOL_SOCKET, SO_MARK, &mark, &length) == 0)
        #expect(mark == 0xca6c)
    }

    @Test(arguments: [AddressFamily.ipv4, .ipv6])
    func `fragmentation is left to the network unless asked otherwise`(family: AddressFamily) throws {
        let socket = try UDPSocket(family)
        func mode() -> Int32 {
            var value: Int32 = -1
            var length: socklen_t = 4
            let level = family == .ipv6 ? Int32(IPPROTO_IPV6) : Int32(IPPROTO_IP)
            let option = family == .ipv6 ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER
            _ = unsafe getsockopt(socket.raw, level, option, &value, &length)
            return value
        }
        #expect(mode() == 0)
        #expect(socket.setPathMTUDiscovery(.probe) == true)
        #expect(mode() == 3)
        #expect(socket.setPathMTUDiscovery(.never) == true)
        #expect(mode() == 0)
    }

    @Test(arguments: [AddressFamily.ipv4, .ipv6])
    func `a datagram that must stay whole is refused where the link is too small, others are fragmented`(
        family: AddressFamily
    ) throws {
        try inIsolatedNetwork("mtu 1400") {
            let address: IPAddress = family == .ipv6 ? .v6(.loopback) : .v4(IPv4Address(127, 0, 0, 1))
            let receiver = try UDPSocket(family, address: address)
            let sender = try UDPSocket(family)
            let target = Endpoint(address, port: receiver.port)
            var buffer = [UInt8](repeating: 0, count: 4000)
            func arrives() -> Int? {
                waitReadable(receiver.raw, milliseconds: 200)
                return unsafe buffer.withUnsafeMutableBytes { unsafe receiver.receive(into: $0)?.length }
            }
            for size in [100, 1300, 2000] {
                let fits = size < 1400
                #expect(sender.sendUnfragmented(pattern(1, size), to: target) == (fits ? nil : Errno(EMSGSIZE)))
                #expect(arrives() == (fits ? size : nil))
                #expect(sender.send(pattern(1, size), to: target) == nil)
                #expect(arrives() == size)
            }
        }
    }

    @Test func `the don't-fragment bit is on what must stay whole, and on nothing else`() throws {
        try inIsolatedNetwork("mtu 1500") {
            // Sees each datagram with its IP header.
            let raw = FileDescriptor(owning: socket(AF_INET, Int32(SOCK_RAW.rawValue), Int32(IPPROTO_UDP)))
            let sender = try UDPSocket(.ipv4)
            let target = Endpoint(.v4(IPv4Address(127, 0, 0, 1)), port: 9)
            var bits: [UInt8] = []
            for isWhole in [false, true, false] {
                if isWhole { sender.sendUnfragmented([1], to: target) } else { sender.send([1], to: target) }
                waitReadable(raw.raw, milliseconds: 500)
                var header = [UInt8](repeating: 0, count: 64)
                let count = unsafe recv(raw.raw, &header, header.count, 0)
                try #require(count == 29)
                bits.append(header[6] >> 6 & 1)
            }
            #expect(bits == [0, 1, 0])
        }
    }

    @Test func `receive offload can be switched on and off`() throws {
        let socket = try UDPSocket(.ipv6)
        #expect(socket.enableReceiveOffload() == true)
        #expect(socket.enableReceiveOffload(false) == true)
    }

    private func receiveHopLimit(_ raw: Int32) -> Int32? {
        waitReadable(raw, milliseconds: 1000)
        var data: UInt64 = 0
        var control = SIMD64<UInt8>()
        return unsafe withUnsafeMutableBytes(of: &data) { data in
            unsafe withUnsafeMutableBytes(of: &control) { control in
                var part = unsafe iovec(iov_base: data.baseAddress, iov_len: data.count)
                return unsafe withUnsafeMutablePointer(to: &part) { part in
                    var message = unsafe msghdr()
                    unsafe message.msg_iov = unsafe part
                    unsafe message.msg_iovlen = 1
                    unsafe message.msg_control = control.baseAddress
                    unsafe message.msg_controllen = control.count
                    guard unsafe recvmsg(raw, &message, 0) >= 0, unsafe message.msg_controllen >= 20 else { return nil }
                    return unsafe control.load(fromByteOffset: 16, as: Int32.self)
                }
            }
        }
    }
}
