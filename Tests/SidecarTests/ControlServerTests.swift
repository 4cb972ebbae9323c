import Control
import Glibc
import Linux
import NIOPosix
import TestSupport
import Testing

@testable import Sidecar

@Suite struct ControlServerTests {
    /// A thousand peers are more than a socket's buffer takes.
    @Test(.timeLimit(.minutes(1)))
    func `an answer larger than the socket's buffer arrives whole`() async throws {
        let scratch = try ScratchFolder()
        let path = "\(scratch.path)/control.sock"
        let text = String(repeating: "p", count: 4 << 20)
        let server = ControlServer(path: path, group: MultiThreadedEventLoopGroup.singleton) { _ in
            ControlAnswer(error: text)
        }
        let serving = Task { try await server.run() }
        defer {
            serving.cancel()
            withExtendedLifetime(scratch) {}
        }
        for _ in 0..<200 {
            if (try? UnixSocket.connect(path: path)) != nil { break }
            try await Task.sleep(for: .milliseconds(10))
        }
        let bytes = try await Task.detached {
            let socket = try UnixSocket.connect(path: path)
            UnixSocket.setTimeout(socket, seconds: 10)
            try socket.writeAll(Array("status\n".utf8))
            usleep(100_000)  // What does not fit must wait.
            return try socket.readToEnd(limit: 8 << 20)
        }.value
        #expect(bytes.count == ControlAnswer(error: text).json.utf8.count + 1)
    }
}
