import Glibc

/// What it costs to send a datagram from one socket for all peers, which names the destination each time, beside a connected
/// socket a peer: CPU time of the sending thread, in the kernel mostly, over loopback. Loopback hands a datagram to its
/// receiver in the sender's time, so a part is the same for both.
enum SocketCost {
    enum Failure: Error { case system(String, Int32) }

    private static let segment: Int32 = 103, gro: Int32 = 104  // UDP_SEGMENT, UDP_GRO of linux/udp.h
    private static let port: UInt16 = 53271
    private static let batch = 32

    /// Nanoseconds a datagram, by how many peers take turns and how many datagrams one call sends.
    static func measure(seconds: Double) throws -> [String] {
        let receiver = try makeSocket()
        defer { close(receiver) }
        try set(receiver, SOL_SOCKET, SO_RCVBUF, 8 << 20)
        try set(receiver, Int32(IPPROTO_UDP), gro, 1)
        var any = address(0)
        guard unsafe withAddress(&any, { unsafe bind(receiver, $0, $1) }) == 0 else {
            throw Failure.system("bind", errno)
        }
        var lines: [String] = []
        for peers in [1, 64] {
            for (name, size, count) in [("single", 128, 1), ("gso", 1452, 40)] {
                let rounds = max(50, Int(seconds * 100))
                let costs = try compare(receiver, peers: peers, size: size, count: count, rounds: rounds)
                lines.append("send unconnected \(name) \(peers) \(rounded(costs.unconnected))")
                lines.append("send connected \(name) \(peers) \(rounded(costs.connected))")
            }
        }
        return lines
    }

    private static func compare(
        _ receiver: Int32, peers: Int, size: Int, count: Int, rounds: Int
    ) throws -> (unconnected: Double, connected: Double) {
        var addresses = (1...peers).map { address(0x7f01_0000 | UInt32($0)) }
        let home = try makeSocket()
        var connected: [Int32] = []
        defer { for socket in connected + [home] { close(socket) } }
        for index in 0..<peers {
            let socket = try makeSocket()
            connected.append(socket)
            guard unsafe withAddress(&addresses[index], { unsafe connect(socket, $0, $1) }) == 0 else {
                throw Failure.system("connect", errno)
            }
        }
        if count > 1 { for socket in connected + [home] { try set(socket, Int32(IPPROTO_UDP), segment, Int32(size)) } }
        let payload = [UInt8](repeating: 0x5a, count: size * count)
        var samples = (unconnected: [Double](), connected: [Double]())
        // Batches are short and interleaved, so that a change of the machine's pace hits both alike.
        for _ in 0..<rounds {
            samples.unconnected.append(
                time(count) { index in
                    unsafe withAddress(&addresses[index % peers]) {
                        unsafe sendto(home, payload, payload.count, 0, $0, $1)
                    } == payload.count
                })
            drain(receiver)
            samples.connected.append(
                time(count) { index in
                    unsafe send(connected[index % peers], payload, payload.count, 0) == payload.count
                })
            drain(receiver)
        }
        return (median(samples.unconnected), median(samples.connected))
    }

    private static func time(_ count: Int, _ send: (Int) -> Bool) -> Double {
        let start = processorTime()
        for index in 0..<batch { precondition(send(index), "send: errno \(errno)") }
        return Double(processorTime() - start) / Double(batch * count)
    }

    private static func drain(_ receiver: Int32) {
        var buffer = [UInt8](repeating: 0, count: 65536)
        while unsafe recv(receiver, &buffer, buffer.count, Int32(MSG_DONTWAIT)) > 0 {}
    }

    private static func makeSocket() throws -> Int32 {
        let made = socket(AF_INET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard made >= 0 else { throw Failure.system("socket", errno) }
        return made
    }

    private static func set(_ socket: Int32, _ level: Int32, _ name: Int32, _ value: Int32) throws {
        var value = value
        guard unsafe setsockopt(socket, level, name, &value, socklen_t(MemoryLayout<Int32>.size)) == 0 else {
            throw Failure.system("setsockopt \(name)", errno)
        }
    }

    private static func address(_ bits: UInt32) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = bits.bigEndian
        return address
    }

    private static func withAddress<Result>(
        _ address: inout sockaddr_in, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
    ) -> Result {
        unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
    }
}
