import Addressing
import CLinux
import Glibc
import Linux
import Synchronization
import TestSupport
import Testing
import Tun

/// Real sockets of two namespaces, with only our code between their TUNs. As root.
@Suite(.serialized) struct TunTrafficTests {
    static let streamBytes = 50_000_000

    @Test(arguments: [false, true], [TunOffloads.all, []])
    func `a TCP stream of 50 MB arrives unchanged`(isIPv6: Bool, offloads: TunOffloads) throws {
        var hashes: (sent: UInt64, received: UInt64) = (0, 1)
        let counts = try withJoinedTuns(offloads: offloads) { left, right, _ in
            let listener = try listen(right, isIPv6)
            let server = StreamReceiver()
            let thread = try Thread(named: "warren-recv") { server.receive(listener, count: Self.streamBytes) }
            hashes.sent = try send(left, isIPv6, count: Self.streamBytes)
            thread.join()
            hashes.received = server.hash
        }
        #expect(hashes.sent == hashes.received)
        #expect(counts.forth.faults == 0)
        #expect(counts.forth.refused == 0)
        if offloads.contains(.tso4) {
            // Super-packets in, taken apart, put together, out.
            #expect(counts.forth.superFrames > 100)
            #expect(counts.forth.packets > 10 * counts.forth.frames)
            #expect(counts.forth.packets > 10 * counts.forth.writes)
        } else {
            #expect(counts.forth.superFrames == 0)
            #expect(counts.forth.packets == counts.forth.frames)
        }
    }

    @Test(arguments: [false, true], [TunOffloads.all, TunOffloads.all.subtracting(.uso)])
    func `datagrams of one segmented send arrive one by one`(isIPv6: Bool, offloads: TunOffloads) throws {
        var random = SeededRandom(seed: 21)
        let payload = random.bytes(20 * 1000 + 123)
        var received: [[UInt8]] = []
        let counts = try withJoinedTuns(offloads: offloads) { left, right, granted in
            // Right after attach a device may lose what it is given: wait until something comes back.
            try left.command("ping -q -c 1 -i 0.2 -w 5 \(isIPv6 ? "fd09::2" : "10.9.0.2")")
            let receiver = try socket(right, isIPv6, Int32(SOCK_DGRAM.rawValue))
            try bindAny(receiver.raw, isIPv6, port: 7000)
            let sender = try socket(left, isIPv6, Int32(SOCK_DGRAM.rawValue))
            var size: Int32 = 1000
            _ = try check("UDP_SEGMENT") {
                unsafe setsockopt(sender.raw, Int32(IPPROTO_UDP), Int32(CLinux_UDP_SEGMENT), &size, 4)
            }
            try connect(sender.raw, isIPv6, port: 7000)
            let sent = unsafe payload.withUnsafeBytes { unsafe Glibc.send(sender.raw, $0.baseAddress, $0.count, 0) }
            #expect(sent == payload.count)
            while received.count < 21, waitReadable(receiver.raw, milliseconds: 2000) {
                received.append(try receiver.read(upTo: 65536))
            }
        }
        #expect(received.count == 21)
        let isEqual = Array(received.joined()) == payload
        #expect(isEqual)
        #expect(received.dropLast().allSatisfy { $0.count == 1000 })
        #expect(counts.forth.refused == 0)
        if offloads.contains(.uso4) { #expect(counts.forth.superFrames == 1) }
    }

    @Test func `ping and its answer pass in both families`() throws {
        _ = try withJoinedTuns(offloads: .all) { left, _, _ in
            try left.command("ping -q -c 3 -i 0.01 -W 2 -s 1300 10.9.0.2")
            try left.command("ping -q -c 3 -i 0.01 -W 2 -s 3000 10.9.0.2")
            try left.command("ping -q -c 3 -i 0.01 -W 2 -s 3000 fd09::2")
        }
    }

    /// The receiver's hash, made on its thread.
    private final class StreamReceiver: Sendable {
        private let value = Mutex<UInt64>(0)

        var hash: UInt64 { value.withLock { $0 } }

        func receive(_ listener: FileDescriptorBox, count: Int) {
            let raw = accept(listener.raw, nil, nil)
            guard raw >= 0 else { return }
            let socket = FileDescriptorBox(FileDescriptor(owning: raw))
            var chunk = [UInt8](repeating: 0, count: 1 << 16)
            var hash: UInt64 = 0
            var left = count
            while left > 0 {
                let want = min(left, chunk.count)
                let got = unsafe recv(socket.raw, &chunk, want, Int32(MSG_WAITALL))
                guard got > 0 else { return }
                hash = mix(hash, chunk, got)
                left -= got
            }
            let result = hash
            value.withLock { $0 = result }
        }
    }

    private func listen(_ network: TestNetwork, _ isIPv6: Bool) throws -> FileDescriptorBox {
        let socket = try socket(network, isIPv6, Int32(SOCK_STREAM.rawValue))
        try bindAny(socket.raw, isIPv6, port: 7000)
        _ = try check("listen") { Glibc.listen(socket.raw, 1) }
        return socket
    }

    private func send(_ network: TestNetwork, _ isIPv6: Bool, count: Int) throws -> UInt64 {
        let socket = try socket(network, isIPv6, Int32(SOCK_STREAM.rawValue))
        try connect(socket.raw, isIPv6, port: 7000)
        var random = SeededRandom(seed: 20)
        var chunk = random.bytes(1 << 16)
        var hash: UInt64 = 0
        var left = count
        while left > 0 {
            chunk[Int.random(in: 0..<chunk.count, using: &random)] &+= 1
            let want = min(left, chunk.count)
            var offset = 0
            while offset < want {
                let sent = unsafe chunk.withUnsafeBytes { bytes in
                    unsafe Glibc.send(
                        socket.raw, bytes.baseAddress.map { unsafe $0 + offset }, want - offset, Int32(MSG_NOSIGNAL))
                }
                guard sent > 0 else { throw SystemError("send", .current) }
                offset += sent
            }
            hash = mix(hash, chunk, want)
            left -= want
        }
        return hash
    }
}

/// Both ends hash chunks of the same sizes, eight bytes at a time.
private func mix(_ hash: UInt64, _ chunk: [UInt8], _ count: Int) -> UInt64 {
    unsafe chunk.withUnsafeBytes { bytes in
        var hash = hash
        var offset = 0
        while offset &+ 8 <= count {
            hash = (hash ^ (unsafe bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))) &* 0x100_0000_01b3
            hash ^= hash &>> 29
            offset &+= 8
        }
        while offset < count {
            hash = (hash ^ UInt64(unsafe bytes[offset])) &* 0x100_0000_01b3
            offset &+= 1
        }
        return hash
    }
}

final class FileDescriptorBox: Sendable {
    private let descriptor: FileDescriptor
    init(_ descriptor: consuming FileDescriptor) { self.descriptor = descriptor }
    var raw: Int32 { descriptor.raw }
    func read(upTo count: Int) throws -> [UInt8] { try descriptor.read(upTo: count) }
}

private func socket(_ network: TestNetwork, _ isIPv6: Bool, _ type: Int32) throws -> FileDescriptorBox {
    try network.namespace.run {
        let raw = try check("socket") { Glibc.socket(isIPv6 ? AF_INET6 : AF_INET, type, 0) }
        return FileDescriptorBox(FileDescriptor(owning: raw))
    }
}

private func bindAny(_ raw: Int32, _ isIPv6: Bool, port: UInt16) throws {
    try unsafe withAddress(isIPv6 ? "::" : "0.0.0.0", port) { unsafe bind(raw, $0, $1) }
}

private func connect(_ raw: Int32, _ isIPv6: Bool, port: UInt16) throws {
    try unsafe withAddress(isIPv6 ? "fd09::2" : "10.9.0.2", port) { unsafe Glibc.connect(raw, $0, $1) }
}

private func withAddress(
    _ text: String, _ port: UInt16, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
) throws {
    guard let address = IPAddress(text) else { return }
    var bytes = address.isIPv6 ? [10, 0] + big(port) + [0, 0, 0, 0] : [2, 0] + big(port)
    bytes += address.bytes + [UInt8](repeating: 0, count: 8)
    _ = try check("bind or connect \(text)") {
        unsafe bytes.withUnsafeBytes { bytes in
            unsafe bytes.baseAddress.map {
                unsafe body($0.assumingMemoryBound(to: sockaddr.self), address.isIPv6 ? 28 : 16)
            } ?? -1
        }
    }
}
