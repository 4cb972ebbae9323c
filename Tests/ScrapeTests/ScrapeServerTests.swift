import Addressing
import Glibc
import Linux
import Metrics
import TestSupport
import Testing
import Timing

@testable import Scrape

/// On loopback.
@Suite(.timeLimit(.minutes(1))) struct ScrapeServerTests {
    @Test func `answers a path once, and 404 to anything else`() throws {
        try withServer { server in
            let answer = try get("/metrics", server)
            #expect(answer.hasPrefix("HTTP/1.1 200 OK\r\n"))
            #expect(try get("/metrics?x=y", server).hasPrefix("HTTP/1.1 200 OK\r\n"))
            #expect(try get("/other", server).hasPrefix("HTTP/1.1 404"))
            #expect(try exchange("POST /metrics HTTP/1.1\r\n\r\n", server).hasPrefix("HTTP/1.1 404"))
            #expect(try exchange("\u{1}\u{2}\r\n\r\n", server).hasPrefix("HTTP/1.1 404"))
        }
    }

    @Test func `an answer larger than any socket's buffer arrives whole`() throws {
        try withServer { server in
            let text = try get("/large", server)
            #expect(text.utf8.count > 8 << 20)
            #expect(text.hasSuffix("end"))
        }
    }

    @Test func `a head without end is cut off`() throws {
        try withServer { server in
            let head = "GET /metrics HTTP/1.1\r\n" + String(repeating: "x: y\r\n", count: 4000)
            let answer = try exchange(head, server)
            #expect(answer.hasPrefix("HTTP/1.1 413"))
        }
    }

    @Test func `silent clients take no place from others, and are let go of`() throws {
        try withServer { server in
            var silent: [Int32] = []
            defer { for socket in silent { close(socket) } }
            for _ in 0..<100 { silent.append(try connect(server).release()) }
            #expect(try get("/metrics", server).hasPrefix("HTTP/1.1 200"))
            // The oldest made room at once.
            var byte: UInt8 = 0
            #expect(unsafe recv(silent[0], &byte, 1, 0) <= 0)
        }
    }

    @Test func `refuses whom it is told to`() throws {
        try serve(refusing: IPAddress("127.0.0.1")) { server in
            let answer = try get("/metrics", server)
            #expect(answer == "")
        }
    }

    @Test func `a process tells its own figures`() throws {
        var page = Exposition(prefix: "warren_")
        ProcessFigures.write(to: &page)
        let text = try ExpositionText(page.text)
        let now = Double(WallTime.now().seconds)
        #expect(text.value("process_resident_memory_bytes") ?? 0 > 1e6)
        let start = try #require(text.value("process_start_time_seconds"))
        #expect((now - 3600 * 24...now + 1).contains(start))
        #expect(text.value("process_cpu_seconds_total") ?? 0 > 0)
    }

    private func withServer(_ body: (ScrapeServer) throws -> Void) throws { try serve(refusing: nil, body) }

    private func serve(refusing refused: IPAddress?, _ body: (ScrapeServer) throws -> Void) throws {
        let server = try ScrapeServer(
            listen: Endpoint(IPAddress("127.0.0.1")!, port: 0), refuses: { $0 == refused }
        ) { path in
            switch path {
            case "/metrics": .metrics("x 1\n")
            case "/large": ScrapeAnswer("200 OK", String(repeating: "x", count: 8 << 20) + "end")
            default: nil
            }
        }
        let thread = try Thread(named: "scrape-test") { try? server.run() }
        let result = Result { try body(server) }
        server.stop()
        thread.join()
        try result.get()
    }

    private func get(_ path: String, _ server: ScrapeServer) throws -> String {
        try exchange("GET \(path) HTTP/1.1\r\nHost: x\r\n\r\n", server)
    }

    private func exchange(_ request: String, _ server: ScrapeServer) throws -> String {
        let socket = try connect(server)
        try socket.writeAll(Array(request.utf8))
        var bytes: [UInt8] = []
        while let chunk = try? socket.read(upTo: 65536), !chunk.isEmpty { bytes += chunk }
        return String(decoding: bytes, as: UTF8.self)
    }

    private func connect(_ server: ScrapeServer) throws -> FileDescriptor {
        let socket = FileDescriptor(
            owning: try check("socket") { Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0) })
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = server.endpoint.port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let raw = socket.raw
        _ = try check("connect") {
            unsafe withUnsafePointer(to: &address) {
                unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    unsafe Glibc.connect(raw, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
        }
        return socket
    }
}
