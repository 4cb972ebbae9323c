import Addressing
import Glibc
import Lab
import Linux
import Sodium
import Synchronization
import Timing
import WireGuard

/// Initiations that nobody can tell from true ones by their mac1, and that decrypt to nothing.
struct Forge {
    private var generator: CookieGenerator
    private var random = SystemRandomNumberGenerator()

    /// For the device with this public key.
    init(for publicKey: PublicKey) { generator = CookieGenerator(publicKey) }

    mutating func initiation() -> [UInt8] {
        var message: [UInt8] = [1, 0, 0, 0]
        while message.count < 116 { message.append(UInt8.random(in: .min ... .max, using: &random)) }
        generator.appendMACs(to: &message, now: .zero)
        return message
    }
}

/// Forged initiations in bursts, from a socket of its own, until stopped: the target is under load all the time but has
/// room in its queues between the bursts.
final class Flood {
    private let isStopped = Shared(false)
    private let count = Shared(0)
    private var thread: Linux.Thread?

    /// - Parameters:
    ///   - burst: how many at once; then nothing for `pause` seconds.
    init(from socket: DatagramSocket, on target: Endpoint, publicKey: PublicKey, burst: Int, pause: Double) throws {
        var forge = Forge(for: publicKey)
        let messages = (0..<burst).map { _ in forge.initiation() }
        let (isStopped, count) = (isStopped, count)
        thread = try Linux.Thread(named: "flood") {
            while !isStopped.value {
                for message in messages {
                    try? socket.send(message, to: target)
                    count.value += 1
                }
                usleep(UInt32(pause * 1e6))
            }
        }
    }

    /// Ends it and says how many were sent.
    @discardableResult
    func stop() -> Int {
        isStopped.value = true
        if let running = thread.take() { running.join() }
        return count.value
    }

    deinit { stop() }

    private final class Shared<Value: Sendable>: Sendable {
        private let state: Mutex<Value>
        init(_ value: Value) { state = Mutex(value) }
        var value: Value {
            get { state.withLock { $0 } }
            set { state.withLock { $0 = newValue } }
        }
    }
}
