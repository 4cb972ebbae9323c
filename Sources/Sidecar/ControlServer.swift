import Control
import Glibc
import NIOCore
import NIOPosix
import Synchronization

/// Serves the local API on a Unix socket: one request line and one JSON answer a connection, at most 16 at a time, each
/// for at most 10 s. Who may connect is the socket file's mode: 0660.
struct ControlServer {
    let path: String
    let group: any EventLoopGroup
    let answer: @Sendable (ControlRequest) async -> ControlAnswer
    /// Told of each request once its answer has gone out: what ends the program must not overtake it.
    var answered: @Sendable (ControlRequest, ControlAnswer) -> Void = { _, _ in }

    static let connectionLimit = 16

    /// Serves until the task is cancelled. Throws when the socket can't be bound.
    func run() async throws {
        let server = try await bind()
        let open = Connections()
        try await server.executeThenClose { connections in
            try await withThrowingDiscardingTaskGroup { tasks in
                for try await connection in connections {
                    let isExcess = open.change(by: 1) > Self.connectionLimit
                    tasks.addTask {
                        await serve(connection, isExcess: isExcess)
                        _ = open.change(by: -1)
                    }
                }
            }
        }
    }

    /// The mode is in force before anybody can connect: no window between bind and chmod.
    private func bind() async throws -> NIOAsyncChannel<NIOAsyncChannel<ByteBuffer, ByteBuffer>, Never> {
        let previous = umask(0o117)
        defer { umask(previous) }
        return try await ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 16)
            .bind(unixDomainSocketPath: path, cleanupExistingSocketFile: true) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
                }
            }
    }

    private func serve(_ connection: NIOAsyncChannel<ByteBuffer, ByteBuffer>, isExcess: Bool) async {
        let deadline = connection.channel.eventLoop.scheduleTask(in: .seconds(10)) {
            connection.channel.close(promise: nil)
        }
        defer { deadline.cancel() }
        // A client that goes away or breaks the rules only loses its answer.
        let exchange = try? await connection.executeThenClose {
            inbound, _ -> (request: ControlRequest, answer: ControlAnswer)? in
            if isExcess { return nil }
            var line = ByteBuffer()
            for try await bytes in inbound {
                line.writeImmutableBuffer(bytes)
                if line.readableBytesView.contains(UInt8(ascii: "\n")) { break }
                if line.readableBytes > ControlRequest.maximumLength { return nil }
            }
            let text = String(decoding: line.readableBytesView.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
            let request = ControlRequest(line: text)
            let result =
                if let request {
                    await answer(request)
                } else {
                    ControlAnswer(
                        error:
                            "unknown request; known: status, peers, whois ADDRESS, resolve NAME, netcheck, live, leave")
                }
            // Until the kernel has it: the writer above would return sooner, and what it still holds is lost with the close.
            try await connection.channel.writeAndFlush(ByteBuffer(string: result.json + "\n"))
            return request.map { ($0, result) }
        }
        if let exchange = exchange ?? nil { answered(exchange.request, exchange.answer) }
    }

    private final class Connections: Sendable {
        private let count = Atomic(0)
        func change(by step: Int) -> Int { count.add(step, ordering: .relaxed).newValue }
    }
}
