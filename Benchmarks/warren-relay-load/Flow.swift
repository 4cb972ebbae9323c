import Addressing
import ArgumentParser
import Glibc
import Linux
import NIOCore
import NIOPosix
import Relay
import RelayStream
import Sodium
import Synchronization
import Timing
import Transport

/// `flow`: pairs of members, of which one sends to the other as fast as what arrives lets it: a window, as TCP has one.
struct Flow: AsyncParsableCommand {
    @OptionGroup var mesh: MeshOptions
    @Option var relay: RelayArgument
    @Option(help: "udp or tls")
    var transport = "udp"
    @Option var pairs = 1
    @Option var seconds = 4.0
    @Option(help: "Payload of a frame: a WireGuard datagram.")
    var size = 1452
    @Option(help: "Bytes under way for each pair.")
    var window = 1 << 20
    @Option(help: "Datagrams in one segmented send, by UDP; a tunnel has as many for one read of its TUN.")
    var burst = 44

    func run() async throws {
        let mesh = try mesh.mesh()
        let count = Counts()
        let members = try (0..<pairs * 2).map { try mesh.member($0) }
        let end = MonotonicTime.now() + .milliseconds(UInt64(seconds * 1000))
        if transport == "udp" {
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                for pair in 0..<pairs {
                    let (sender, receiver) = (members[pair * 2], members[pair * 2 + 1])
                    let (relay, size, window, burst) = (relay, size, window, burst)
                    tasks.addTask {
                        try await onThread("pair-\(pair)") {
                            var pair = try DatagramPair(
                                DatagramEnd(sender, relay), DatagramEnd(receiver, relay), size, window, burst)
                            try pair.run(until: end, count)
                        }
                    }
                }
                try await tasks.waitForAll()
            }
        } else {
            let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                for pair in 0..<pairs {
                    let (sender, receiver) = (members[pair * 2], members[pair * 2 + 1])
                    let (relay, size, window) = (relay, size, window)
                    tasks.addTask {
                        let pair = try StreamPair(sender, receiver, relay, size: size, window: window, count)
                        try await pair.run(on: group, until: end)
                    }
                }
                try await tasks.waitForAll()
            }
        }
        say("{\"bytes\": \(count.bytes), \"frames\": \(count.frames), \"stalls\": \(count.stalls)}")
    }
}

/// What arrived, in all.
final class Counts: Sendable {
    private let totals = Mutex((bytes: 0, frames: 0, stalls: 0))
    var bytes: Int { totals.withLock { $0.bytes } }
    var frames: Int { totals.withLock { $0.frames } }
    var stalls: Int { totals.withLock { $0.stalls } }
    func add(bytes: Int, frames: Int, stalls: Int = 0) {
        totals.withLock {
            $0.bytes += bytes
            $0.frames += frames
            $0.stalls += stalls
        }
    }
}

/// Runs `body` on a thread of its own.
func onThread(_ name: String, _ body: @escaping @Sendable () throws -> Void) async throws {
    try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
        do {
            _ = try Thread(named: name) { continuation.resume(with: Result(catching: body)) }
        } catch { continuation.resume(throwing: error) }
    }
}
