import Addressing
import CLinux
import Glibc
import Linux
import Sodium
import Synchronization
import TestSupport
import Testing
import Timing
import Transport
import Tun
import WireGuard

@testable import Tunnel

/// A tunnel with a real TUN in a namespace that ends with its owner. As root.
@Suite(.timeLimit(.minutes(1)))
struct TunnelThreadTests {
    init() throws {
        try #require(geteuid() == 0, "not root: these tests make a namespace and a TUN in it; run sudo make test")
        try Libsodium.initialize()
    }

    @Test func `commands run in order, and questions get answers`() async throws {
        let tunnel = try Running()
        let order = Box([Int]())
        for number in 0..<100 { tunnel.thread.perform { _, _ in order.value.withLock { $0.append(number) } } }
        let port = await tunnel.thread.ask { core, _ in core.port }
        #expect(order.value.withLock { $0 } == Array(0..<100))
        #expect((port ?? 0) > 0)
        #expect(tunnel.thread.askAndWait { _, _ in 7 } == 7)
        #expect(try tunnel.end() == nil)
    }

    @Test func `after the end nobody waits for an answer`() async throws {
        let tunnel = try Running()
        #expect(try tunnel.end() == nil)
        #expect(await tunnel.thread.ask { _, _ in 1 } == nil)
        #expect(tunnel.thread.askAndWait { _, _ in 1 } == nil)
        tunnel.thread.perform { _, _ in Issue.record("ran after the end") }
        tunnel.thread.stop()
    }

    @Test func `stop before run ends it at once`() throws {
        let thread = try Running.makeThread()
        thread.stop()
        #expect(thread.run() == nil)
    }

    @Test func `questions that race with the end are all answered`() async throws {
        for _ in 0..<50 {
            let tunnel = try Running()
            await withTaskGroup(of: Void.self) { group in
                for _ in 0..<8 { group.addTask { _ = await tunnel.thread.ask { _, _ in 1 } } }
                group.addTask { tunnel.thread.stop() }
                let blocking = try? Thread(named: "asker") { _ = tunnel.thread.askAndWait { _, _ in 1 } }
                blocking?.join()
            }
            #expect(try tunnel.end() == nil)
        }
    }

    @Test func `a deleted interface ends it with EBADFD, and a pending question too`() async throws {
        let tunnel = try Running()
        try tunnel.namespace.run { try run("ip link del wgtest0") }
        #expect(try tunnel.wait()?.errno == .badDescriptor)
        #expect(tunnel.thread.askAndWait { _, _ in 1 } == nil)
    }

    @Test func `the port can be changed again and again while it runs, and each new socket is heard`() async throws {
        let tunnel = try Running()
        for _ in 0..<20 {
            let port = await tunnel.thread.ask { core, _ in
                do { try core.bind(port: 0) } catch { return UInt16(0) }
                return core.port
            }
            let before = await tunnel.thread.ask { core, _ in core.counters.foreignDatagrams } ?? 0
            try tunnel.send(to: port ?? 0)
            var heard = false
            for _ in 0..<100 where !heard {
                heard = await tunnel.thread.ask { core, _ in core.counters.foreignDatagrams } ?? 0 > before
                if !heard { usleep(10_000) }
            }
            #expect(heard)
        }
        #expect(try tunnel.end() == nil)
    }

    @Test func `a port that is taken is an error, and the old one stays`() async throws {
        let tunnel = try Running()
        let taken = try tunnel.takePort()
        let result = await tunnel.thread.ask { core, _ in
            let before = core.port
            let failed = (try? core.bind(port: taken.port)) == nil
            return (failed, before == core.port)
        }
        #expect(result?.0 == true && result?.1 == true)
        #expect(try tunnel.end() == nil)
    }

    @Test func `an adopted socket is read until it is released, and closed then`() async throws {
        let tunnel = try Running()
        for _ in 0..<10 {
            let adopted = await tunnel.thread.ask { core, _ -> (index: UInt8, port: UInt16)? in
                guard let socket = try? UDPSocket(.ipv4) else { return nil }
                let port = socket.port
                return core.adopt(socket).map { ($0, port) }
            }
            let (index, port) = try #require(adopted ?? nil)
            #expect(index >= 2)
            let before = await tunnel.thread.ask { core, _ in core.counters.foreignDatagrams } ?? 0
            try tunnel.send(to: port)
            let isRead = try await eventually {
                await tunnel.thread.ask { core, _ in core.counters.foreignDatagrams } ?? 0 > before
            }
            #expect(isRead)
            _ = await tunnel.thread.ask { core, _ in core.release(index) }
            let isClosed = try await eventually {
                await tunnel.thread.ask { _, _ in (try? UDPSocket(.ipv4, port: port)) != nil } ?? false
            }
            #expect(isClosed)
        }
        #expect(try tunnel.end() == nil)
    }

    @Test func `there are so many places for adopted sockets, and home sockets are not released`() async throws {
        let tunnel = try Running()
        let indices = await tunnel.thread.ask { core, _ in
            var indices: [UInt8] = []
            for _ in 0..<20 {
                guard let socket = try? UDPSocket(.ipv4) else { break }
                if let index = core.adopt(socket) { indices.append(index) }
            }
            return indices
        }
        #expect(indices == Array(2..<UInt8(SocketTable.capacity)))
        let port = await tunnel.thread.ask { core, _ in
            core.release(0)
            core.release(200)
            return core.port
        }
        let before = await tunnel.thread.ask { core, _ in core.counters.foreignDatagrams } ?? 0
        try tunnel.send(to: port ?? 0)
        let isRead = try await eventually {
            await tunnel.thread.ask { core, _ in core.counters.foreignDatagrams } ?? 0 > before
        }
        #expect(isRead)
        #expect(try tunnel.end() == nil)
    }

    /// Asks until it is so, for at most 5 s.
    private func eventually(_ isSo: () async -> Bool) async throws -> Bool {
        for _ in 0..<500 {
            if await isSo() { return true }
            try await Task.sleep(nanoseconds: 10_000_000)
        }
        return false
    }

    @Test func `a tunnel at rest uses no processor time`() async throws {
        let tunnel = try Running()
        try await Task.sleep(nanoseconds: 200_000_000)
        let before = await tunnel.thread.ask { _, _ in processorTime() } ?? 0
        try await Task.sleep(nanoseconds: 1_000_000_000)
        let after = await tunnel.thread.ask { _, _ in processorTime() } ?? .max
        #expect(after - before < 50_000_000)
        #expect(try tunnel.end() == nil)
    }

    @Test func `a thread that has work and does none is stuck, and one that has none is not`() async throws {
        let tunnel = try Running()
        let patience = Interval.milliseconds(500)
        // Answers come once the tunnel runs.
        _ = await tunnel.thread.ask { _, _ in 1 }
        #expect(await tunnel.thread.stalledThread(patience: patience) == nil)
        let names = TunnelThread<StockPolicy>.packetThreads == 1 ? "wg-in" : "wg-out"
        let namespace = "/proc/self/fd/\(tunnel.namespace.raw)"
        let id = try #require(StoppedThread.id(named: names, of: getpid(), in: namespace))
        let stopped = try StoppedThread(id)
        // Perhaps the kernel's own packets, as IPv6's: let them in before.
        try await Task.sleep(nanoseconds: 100_000_000)
        try tunnel.namespace.run {
            try Tests.send([1, 2, 3], to: Endpoint("10.77.0.9:9")!, try udpSocket())
        }
        let start = MonotonicTime.now()
        #expect(await tunnel.thread.stalledThread(patience: patience) == names)
        #expect(MonotonicTime.now().since(start) >= patience)
        #expect(tunnel.thread.stalledThreadWaiting(patience: patience) == names)
        stopped.release()
        #expect(await tunnel.thread.stalledThread(patience: .seconds(5)) == nil)
        // The control thread is asked to answer.
        let control = try StoppedThread(#require(StoppedThread.id(named: "tunnel", of: getpid(), in: namespace)))
        #expect(await tunnel.thread.stalledThread(patience: patience) == "warren-tunnel")
        control.release()
        #expect(await tunnel.thread.stalledThread(patience: .seconds(5)) == nil)
        #expect(try tunnel.end() == nil)
        #expect(await tunnel.thread.stalledThread(patience: patience) == nil)
    }

    @Test func `a question that is not answered in time is given up`() throws {
        let tunnel = try Running()
        tunnel.thread.perform { _, _ in usleep(400_000) }
        #expect(tunnel.thread.askAndWait(within: .milliseconds(50)) { _, _ in 1 } == nil)
        #expect(tunnel.thread.askAndWait(within: .seconds(5)) { _, _ in 1 } == 1)
        #expect(try tunnel.end() == nil)
    }

    @Test(arguments: ["10.77.0.9", "fd77::9"])
    func `a packet above the path's limit teaches its sender the limit`(_ destination: String) async throws {
        let tunnel = try Running()
        _ = await tunnel.thread.ask { core, _ in core.pathLimit = 1300 }
        let isIPv6 = destination.contains(":")
        let learned = try tunnel.namespace.run { () throws -> Int32 in
            if isIPv6 { try run("ip address add fd77::1/64 dev wgtest0 nodad") }
            let (family, level) = isIPv6 ? (AF_INET6, Int32(IPPROTO_IPV6)) : (AF_INET, Int32(IPPROTO_IP))
            let socket = FileDescriptor(
                owning: try check("socket") { Glibc.socket(family, Int32(SOCK_DGRAM.rawValue), 0) })
            let raw = socket.raw
            var always: Int32 = 2  // IP_PMTUDISC_DO: don't-fragment, and errors are told.
            unsafe setsockopt(raw, level, isIPv6 ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER, &always, 4)
            try connect(socket, to: destination, port: 9)
            var mtu: Int32 = 0
            for _ in 0..<50 {
                _ = unsafe Glibc.send(raw, [UInt8](repeating: 0, count: 1400), 1400, 0)
                usleep(20_000)
                var size = socklen_t(4)
                unsafe getsockopt(raw, level, isIPv6 ? IPV6_MTU : IP_MTU, &mtu, &size)
                if mtu == 1300 { break }
            }
            return mtu
        }
        #expect(learned == 1300)
        #expect(try tunnel.end() == nil)
    }

    @Test func `packets to nobody get an ICMP error, and a storm of them traps nothing`() async throws {
        let tunnel = try Running()
        try tunnel.namespace.run {
            let socket = try udpSocket()
            for _ in 0..<2000 { try? Tests.send([1, 2, 3], to: Endpoint("10.77.0.9:9")!, socket) }
        }
        var isCounted = false
        for _ in 0..<200 where !isCounted {
            isCounted = await tunnel.thread.ask { core, _ in core.device.drops[.noAllowedIP] > 0 } ?? false
            if !isCounted { try await Task.sleep(nanoseconds: 10_000_000) }
        }
        #expect(isCounted)
        #expect(try tunnel.end() == nil)
    }
}

@Suite struct DemultiplexTests {
    private func isWireGuard(_ bytes: [UInt8]) -> Bool {
        var bytes = bytes
        return unsafe bytes.withUnsafeMutableBytes { unsafe PacketIO.isWireGuard($0) }
    }

    @Test func `a type of one to four and 32 bytes are WireGuard`() {
        let rest = [UInt8](repeating: 0xff, count: 28)
        for type in 0...255 as ClosedRange<UInt8> {
            #expect(isWireGuard([type, 0, 0, 0] + rest) == (1...4).contains(type))
            #expect(!isWireGuard([type, 1, 0, 0] + rest) && !isWireGuard([type, 0, 0, 1] + rest))
        }
        #expect(!isWireGuard([4, 0, 0, 0] + rest.dropLast()))
        #expect(!isWireGuard([]))
    }

    @Test func `STUN, relay and own datagrams are not`() {
        let rest = [UInt8](repeating: 0, count: 40)
        for start: [UInt8] in [
            [0x00, 0x01, 0, 8], [0x01, 0x01, 0, 12], [0xc0, 1, 0, 0], [0xd0, 1, 1, 0], [0xd1, 1, 0, 0],
        ] {
            #expect(!isWireGuard(start + rest))
        }
    }

    @Test func `a receiver index that looks like a STUN cookie is still WireGuard's`() {
        #expect(isWireGuard([4, 0, 0, 0, 0x21, 0x12, 0xa4, 0x42] + [UInt8](repeating: 0, count: 24)))
    }
}

/// A tunnel on its thread.
private final class Running: Sendable {
    let thread: TunnelThread<StockPolicy>
    let namespace: NetworkNamespace
    private let failure = Box<SystemError?>(nil)
    private let runner: Mutex<Thread?>

    init() throws {
        let parts = try Thread.run(named: "warren-test") { try Parts() }
        thread = parts.thread
        namespace = try NetworkNamespace(path: "/proc/self/fd/\(parts.namespace.raw)")
        let (thread, failure) = (thread, failure)
        let raw = namespace.raw
        runner = Mutex(
            try Thread(named: "tunnel") {
                // Sockets that commands open belong to the namespace too.
                _ = CLinux_setns(raw, CLinux_CLONE_NEWNET)
                let result = thread.run()
                failure.value.withLock { $0 = result }
            })
    }

    deinit { thread.stop() }

    static func makeThread() throws -> TunnelThread<StockPolicy> {
        try Thread.run(named: "warren-test") { try Parts() }.thread
    }

    /// On a thread that has left for a namespace of its own, which the descriptors keep alive.
    private final class Parts: Sendable {
        let namespace: FileDescriptor
        let thread: TunnelThread<StockPolicy>

        init() throws {
            _ = try check("unshare a network namespace") { CLinux_unshare(CLinux_CLONE_NEWNET) }
            try run("ip link set lo up")
            let tun = try TunDevice.create("wgtest0")
            try run("ip address add 10.77.0.1/24 dev wgtest0")
            try run("ip link set wgtest0 up")
            let offloads = tun.enableOffloads()
            var random = SecureRandom()
            let device = Device(privateKey: try SecretKey(using: &random), random: random)
            var core = try TunnelCore(device: device, tun: tun, offloads: offloads, mtu: 1420)
            try core.bind(port: 0)
            thread = try TunnelThread(core, StockPolicy())
            namespace = try FileDescriptor(open: "/proc/thread-self/ns/net", O_RDONLY)
        }
    }

    func end() throws -> SystemError? {
        thread.stop()
        return try wait()
    }

    func wait() throws -> SystemError? {
        if let runner = runner.withLock({ $0.take() }) { runner.join() }
        return failure.value.withLock { $0 }
    }

    /// One datagram that is not WireGuard.
    func send(to port: UInt16) throws {
        try namespace.run {
            try Tests.send([0xff, 1, 2, 3], to: Endpoint(IPAddress("127.0.0.1")!, port: port), try udpSocket())
        }
    }

    /// A port with a socket on it.
    final class Taken: Sendable {
        let socket: FileDescriptor
        let port: UInt16 = 40123
        init(_ socket: consuming FileDescriptor) { self.socket = socket }
    }

    func takePort() throws -> Taken {
        try namespace.run {
            let socket = try udpSocket()
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = UInt16(40123).bigEndian
            let raw = socket.raw
            _ = try check("bind") {
                unsafe withUnsafePointer(to: &address) {
                    unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                        unsafe Glibc.bind(raw, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                    }
                }
            }
            return Taken(socket)
        }
    }
}

private final class Box<Value: Sendable>: Sendable {
    let value: Mutex<Value>
    init(_ value: sending Value) { self.value = Mutex(value) }
}

private func processorTime() -> UInt64 {
    var time = timespec()
    _ = unsafe clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

private func udpSocket() throws -> FileDescriptor {
    FileDescriptor(owning: try check("socket") { socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0) })
}

private enum Tests {
    static func send(_ bytes: [UInt8], to endpoint: Endpoint, _ socket: borrowing FileDescriptor) throws {
        guard case .v4(let host) = endpoint.address else { return }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = endpoint.port.bigEndian
        address.sin_addr.s_addr = host.value.bigEndian
        let raw = socket.raw
        _ = try check("sendto") {
            unsafe withUnsafePointer(to: &address) {
                unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    unsafe Int32(sendto(raw, bytes, bytes.count, 0, $0, socklen_t(MemoryLayout<sockaddr_in>.size)))
                }
            }
        }
    }
}

private func run(_ command: String) throws {
    let words = command.split(separator: " ").map(String.init)
    var arguments = unsafe words.map { unsafe strdup($0) } + [nil]
    defer { unsafe arguments.forEach { unsafe free($0) } }
    var pid: pid_t = 0
    let code = unsafe posix_spawnp(&pid, words[0], nil, nil, &arguments, environ)
    var status: Int32 = 0
    guard code == 0, unsafe waitpid(pid, &status, 0) == pid, status == 0 else {
        throw SystemError("\(command) (status \(status))", Errno(code))
    }
}

/// connect(2) to a numeric address of either family.
private func connect(_ socket: borrowing FileDescriptor, to address: String, port: UInt16) throws {
    let raw = socket.raw
    if address.contains(":") {
        var name = sockaddr_in6()
        name.sin6_family = sa_family_t(AF_INET6)
        name.sin6_port = port.bigEndian
        unsafe inet_pton(AF_INET6, address, &name.sin6_addr)
        _ = try check("connect \(address)") {
            unsafe withUnsafePointer(to: &name) {
                unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    unsafe Glibc.connect(raw, $0, socklen_t(MemoryLayout<sockaddr_in6>.size))
                }
            }
        }
    } else {
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        name.sin_port = port.bigEndian
        unsafe inet_pton(AF_INET, address, &name.sin_addr)
        _ = try check("connect \(address)") {
            unsafe withUnsafePointer(to: &name) {
                unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    unsafe Glibc.connect(raw, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
        }
    }
}
