import Addressing
import DNS
import Glibc
import Linux
import Synchronization
import TestSupport
import Testing
import Timing

@testable import NameService

/// The server on loopback, with sockets as clients and servers have them.
@Suite(.serialized) struct NameServerTests {
    static let loopback = IPAddress.v4(IPv4Address(127, 0, 0, 1))
    static let web = MeshHost(name: "web", addresses: [.v4(IPv4Address(100, 96, 0, 7))])

    /// A server on a free port with its thread, and what it was asked to look up.
    final class Fixture: Sendable {
        let server: NameServer
        let endpoint: Endpoint
        let lookups = Mutex<[MeshKey]>([])

        init(upstreams: [Endpoint], answers: Bool = true) throws {
            let port = try Self.freePort()
            endpoint = Endpoint(loopback, port: port)
            let holder = Mutex<NameServer?>(nil)
            let box = Box(holder)
            server = try NameServer(
                at: [loopback], port: port, domain: DomainName("demo.warren.internal") ?? .root, upstreams: upstreams
            ) { key in
                guard answers else { return }
                let hosts: [MeshHost] =
                    key == .group("a-rather-long-name.d")
                    ? (1...16).map { MeshHost(name: "m", addresses: [.v6(IPv6Address(high: 1 << 60, low: $0))]) }
                    : [web]
                box.server?.resolved(key, .hosts(hosts, until: .never))
            }
            box.set(server)
            server.setConnected(true)
            let server = server
            _ = try Thread(named: "dns") { _ = server.serve() }
        }

        deinit { server.stop() }

        final class Box: Sendable {
            private let holder: Mutex<NameServer?>
            init(_ holder: consuming Mutex<NameServer?>) { self.holder = holder }
            var server: NameServer? { holder.withLock { $0 } }
            func set(_ server: NameServer) { holder.withLock { $0 = server } }
        }

        static func freePort() throws -> UInt16 {
            let probe = try Exchange([0], to: Endpoint(loopback, port: 9), overTCP: false)
            var name = sockaddr_in()
            var length = socklen_t(MemoryLayout<sockaddr_in>.size)
            _ = unsafe withUnsafeMutableBytes(of: &name) {
                unsafe getsockname(
                    probe.socket.raw, $0.baseAddress?.assumingMemoryBound(to: sockaddr.self), &length)
            }
            return UInt16(bigEndian: name.sin_port)
        }
    }

    /// Answers each datagram with itself as a response, so that ids and questions are right.
    final class Echo: Sendable {
        let endpoint: Endpoint
        private let isStopped = Atomic(false)

        init() throws {
            endpoint = Endpoint(loopback, port: try Fixture.freePort())
            let socket = try InternetSocket.serving(.udp, at: endpoint, on: nil)
            _ = try Thread(named: "echo") { [socket = Mutex<Int32>(socket.release()), self] in
                let raw = socket.withLock { $0 }
                let buffer = ReceiveBuffer()
                while !self.isStopped.load(ordering: .relaxed) {
                    var waited = pollfd(fd: raw, events: Int16(POLLIN), revents: 0)
                    guard unsafe poll(&waited, 1, 50) > 0,
                        case .success((var bytes, let source?)) = buffer.receive(raw), bytes.count > 2
                    else { continue }
                    bytes[2] |= 0x80
                    InternetSocket.send(bytes, on: raw, to: source)
                }
                close(raw)
            }
        }

        func stop() { isStopped.store(true, ordering: .relaxed) }
    }

    static func query(_ name: String, _ type: RecordType = .a, id: UInt16 = 7) -> [UInt8] {
        var bytes: [UInt8] = [UInt8(id >> 8), UInt8(id & 255), 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]
        for label in name.utf8.split(separator: UInt8(ascii: ".")) { bytes += [UInt8(label.count)] + label }
        return bytes + [0, UInt8(type.rawValue >> 8), UInt8(type.rawValue & 255), 0, 1]
    }

    /// Sends and waits for one message; nil when none comes.
    static func ask(_ query: [UInt8], _ server: Endpoint, overTCP: Bool = false, timeout: Int32 = 3000) throws
        -> [UInt8]?
    {
        let exchange = try Exchange(query, to: server, overTCP: overTCP)
        return try wait(exchange, timeout)
    }

    static func wait(_ exchange: Exchange, _ timeout: Int32) throws -> [UInt8]? {
        let buffer = ReceiveBuffer()
        let end = MonotonicTime.now() + .milliseconds(UInt64(timeout))
        while MonotonicTime.now() < end {
            let events = Int16(exchange.interest == .write ? POLLOUT : POLLIN)
            var waited = pollfd(fd: exchange.socket.raw, events: events, revents: 0)
            _ = unsafe poll(&waited, 1, 50)
            switch exchange.proceed(buffer) {
            case .message(let bytes): return bytes
            case .failed: return nil
            case .waiting: continue
            }
        }
        return nil
    }

    @Test func `names of the mesh are answered by UDP and TCP, others by the upstream`() throws {
        let echo = try Echo()
        defer { echo.stop() }
        let fixture = try Fixture(upstreams: [echo.endpoint])
        for overTCP in [false, true] {
            let answer = try #require(
                try Self.ask(Self.query("web.d.demo.warren.internal"), fixture.endpoint, overTCP: overTCP))
            #expect(answer.suffix(4) == [100, 96, 0, 7])
        }
        let other = Self.query("a.example", id: 99)
        var expected = other
        expected[2] |= 0x80
        #expect(try Self.ask(other, fixture.endpoint) == expected)
        // The report follows the answer.
        let end = MonotonicTime.now() + .seconds(2)
        while fixture.server.report.counters.forwarded == 0, MonotonicTime.now() < end { usleep(1000) }
        #expect(fixture.server.report.counters.forwarded == 1)
    }

    @Test func `a large answer is truncated by UDP and whole by TCP`() throws {
        let fixture = try Fixture(upstreams: [])
        let query = Self.query("a-rather-long-name.d.group.demo.warren.internal", .aaaa)
        let datagram = try #require(try Self.ask(query, fixture.endpoint))
        #expect(datagram[2] & 2 != 0)
        #expect(datagram.count <= 512)
        let stream = try #require(try Self.ask(query, fixture.endpoint, overTCP: true))
        #expect(stream[2] & 2 == 0)
        #expect(stream[7] == 16)
    }

    @Test func `an upstream that is down is told of at once`() throws {
        let fixture = try Fixture(upstreams: [Endpoint(Self.loopback, port: try Fixture.freePort())])
        for _ in 0..<5 {
            let start = MonotonicTime.now()
            let answer = try #require(try Self.ask(Self.query("a.example"), fixture.endpoint))
            #expect(answer[3] & 15 == 2)
            #expect(MonotonicTime.now().since(start) < .milliseconds(500))
        }
        #expect(try Self.ask(Self.query("web.d.demo.warren.internal"), fixture.endpoint)?.suffix(4) == [100, 96, 0, 7])
    }

    @Test func `queries in one connection are answered, each under its id, in pieces or at once`() throws {
        let fixture = try Fixture(upstreams: [])
        let socket = try InternetSocket.connected(.tcp, to: fixture.endpoint)
        var bytes: [UInt8] = []
        for id in UInt16(1)...200 {
            let query = Self.query("web.d.demo.warren.internal", id: id)
            bytes += [0, UInt8(query.count)] + query
        }
        var received: [UInt8] = []
        let buffer = ReceiveBuffer()
        var rest = bytes[...]
        let end = MonotonicTime.now() + .seconds(5)
        while received.count < 200 * 63, MonotonicTime.now() < end {
            if !rest.isEmpty, case .success(let count) = InternetSocket.write(rest.prefix(97), on: socket.raw) {
                rest = rest.dropFirst(count)
            }
            if case .success((let part, _)) = buffer.receive(socket.raw) {
                if part.isEmpty { break }
                received += part
            }
        }
        var ids: Set<UInt16> = []
        while received.count >= 4 {
            ids.insert(UInt16(received[2]) << 8 | UInt16(received[3]))
            received.removeFirst(min(2 + Int(received[0]) << 8 + Int(received[1]), received.count))
        }
        #expect(ids == Set(1...200))
    }

    @Test func `no datagram and no connection, however made, ends the server`() throws {
        let fixture = try Fixture(upstreams: [Endpoint(Self.loopback, port: try Fixture.freePort())])
        var random = SeededRandom(seed: 5)
        let seed = Self.query("web.d.demo.warren.internal", .aaaa) + [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]
        let socket = try InternetSocket.connected(.udp, to: fixture.endpoint)
        for _ in 0..<20_000 { InternetSocket.send(random.mutated(seed), on: socket.raw) }
        for _ in 0..<300 {
            let stream = try InternetSocket.connected(.tcp, to: fixture.endpoint)
            _ = InternetSocket.write([0, UInt8(seed.count)] + random.mutated(seed), on: stream.raw)
        }
        #expect(try Self.ask(Self.query("web.d.demo.warren.internal"), fixture.endpoint)?.suffix(4) == [100, 96, 0, 7])
        #expect(fixture.server.report.counters.malformed + fixture.server.report.counters.dropped > 100)
    }

    @Test func `connections have a limit, and those that say nothing an end`() throws {
        let fixture = try Fixture(upstreams: [])
        var sockets: [Holder] = []
        for _ in 0..<NameLoop.streamLimit + 20 {
            sockets.append(Holder(try InternetSocket.connected(.tcp, to: fixture.endpoint)))
        }
        let buffer = ReceiveBuffer()
        func closed() -> Int {
            sockets.count { holder in
                if case .success((let bytes, _)) = buffer.receive(holder.socket.raw) { bytes.isEmpty } else { false }
            }
        }
        var end = MonotonicTime.now() + .seconds(5)
        while closed() < 20, MonotonicTime.now() < end { usleep(20_000) }
        #expect(closed() == 20)
        end = MonotonicTime.now() + .seconds(15)
        while closed() < sockets.count, MonotonicTime.now() < end { usleep(50_000) }
        #expect(closed() == sockets.count)
        #expect(fixture.server.report.streams == 0)
    }

    final class Holder {
        let socket: FileDescriptor
        init(_ socket: consuming FileDescriptor) { self.socket = socket }
    }
}
