import Addressing
import Sodium
import Timing
import WireGuard

/// Two devices back to back on a virtual clock: each handshake is an initiation, a response and the keepalive that
/// confirms it, with every check on.
struct HandshakeRate: ~Copyable {
    enum Failure: Error { case unfinished }

    private var left: Device
    private var right: Device
    private let rightID: PeerID
    private let leftPath = Path.direct(socket: 0, Endpoint(.v4(.any), port: 1001))
    private let rightPath = Path.direct(socket: 0, Endpoint(.v4(.any), port: 1002))
    private var now = MonotonicTime(nanoseconds: 1_000_000_000)
    private var wall = WallTime(seconds: 1_700_000_000)

    init() throws {
        var random = SecureRandom()
        var left = Device(privateKey: try SecretKey(using: &random), random: random)
        var right = Device(privateKey: try SecretKey(using: &random), random: random)
        guard let leftKey = left.publicKey, let rightKey = right.publicKey else { throw Failure.unfinished }
        let rightID = try left.addPeer(rightKey)
        left.setPath(rightID, rightPath)
        let leftID = try right.addPeer(leftKey)
        right.setPath(leftID, leftPath)
        self.left = left
        self.right = right
        self.rightID = rightID
    }

    /// The median of the rates of ten equal parts, in handshakes per second of CPU.
    consuming func measure(seconds: Double) throws -> Double {
        for _ in 0..<20 { try shakeHands() }
        var rates: [Double] = []
        for _ in 0..<10 {
            let start = processorTime()
            var (count, elapsed) = (0, UInt64(0))
            while Double(elapsed) < seconds * 1e8 {
                try shakeHands()
                count += 1
                elapsed = processorTime() - start
            }
            rates.append(Double(count) * 1e9 / Double(elapsed))
        }
        return median(rates)
    }

    private mutating func shakeHands() throws {
        // A device starts at most one handshake in five seconds.
        now = now + .seconds(6)
        wall.seconds += 6
        left.startHandshake(rightID, now: now, wall: wall)
        while left.hasOutputs || right.hasOutputs {
            for output in left.drainOutputs() { Self.deliver(output.bytes, to: &right, leftPath, now, wall) }
            for output in right.drainOutputs() { Self.deliver(output.bytes, to: &left, rightPath, now, wall) }
        }
        let completed = left.drainEvents().contains(.handshakeCompleted(rightID, asInitiator: true))
        let confirmed = right.drainEvents().contains { event in
            if case .handshakeCompleted(_, asInitiator: false) = event { true } else { false }
        }
        guard completed && confirmed else { throw Failure.unfinished }
    }

    private static func deliver(
        _ bytes: [UInt8], to device: inout Device, _ path: Path, _ now: MonotonicTime, _ wall: WallTime
    ) {
        var bytes = bytes
        _ = unsafe bytes.withUnsafeMutableBytes { unsafe device.decapsulate($0, from: path, now: now, wall: wall) }
    }
}
