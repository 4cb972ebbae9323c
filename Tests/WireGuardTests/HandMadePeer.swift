import Addressing
import Noise
import Sodium
import TestSupport
import Testing
import Timing
import WireGuard

/// An initiator made of the parts alone, which can say what a device would not.
struct HandMadePeer: ~Copyable {
    static let identifier = Array("WireGuard v1 zx2c4 Jason@zx2c4.com".utf8)

    let key: StaticKey
    private var random: SeededRandom
    private var initiator: HandshakeState.Initiator?

    init(seed: UInt64) throws {
        try Libsodium.initialize()
        var random = SeededRandom(seed: seed)
        let secret = try SecretKey(using: &random)
        self.random = random
        key = StaticKey(secret)
        initiator = nil
    }

    /// An initiation to the owner of `remote` with any payload and sender index.
    mutating func initiation(
        to remote: PublicKey, payload: [UInt8], sender: UInt32 = 0x1234, now: MonotonicTime
    ) throws -> [UInt8] {
        var message: [UInt8] = [1, 0, 0, 0]
        for shift in [0, 8, 16, 24] { message.append(UInt8(truncatingIfNeeded: sender >> UInt32(shift))) }
        let staticStatic = try X25519.sharedSecret(key.secret, remote)
        let ephemeral = try SecretKey(using: &random)
        initiator = try unsafe HandshakeState.Initiator(
            local: key, remote: remote, staticStatic: staticStatic, ephemeral: ephemeral,
            prologue: Self.identifier.span.bytes, payload: payload.span.bytes, message: &message)
        var cookies = CookieGenerator(remote)
        cookies.appendMACs(to: &message, now: now)
        return message
    }

    /// Takes the response to the last initiation.
    func finish(_ response: [UInt8]) throws -> Keypair {
        let presharedKey = try SecretKey()
        var payload: [UInt8] = []
        let body = Array(response[12..<60])
        switch initiator {
        case .some(let initiator):
            let keys = try unsafe initiator.finish(
                response: body.span.bytes, local: key, presharedKey: presharedKey, payload: &payload)
            let remote = response[4..<8].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            return Keypair(keys, isInitiator: true, localIndex: 0x1234, remoteIndex: remote, created: .zero)
        case .none: throw NoiseError.authentication
        }
    }

    /// Adds itself to `node`, which is given its packets from `allowed`, and makes a session with it.
    consuming func session(with node: Node, allowed: String) throws -> Keypair {
        let id = try node.device.addPeer(key.publicKey)
        node.device.addAllowedIP(id, try prefix(allowed))
        let stamp = TAI64N(unixSeconds: node.clock.wall.seconds, nanoseconds: 0)
        let message = try initiation(to: node.publicKey, payload: stamp.bytes, now: node.clock.now)
        #expect(node.receive(message, from: direct("203.0.113.5:5")).result == .handshake(id, .initiation))
        let outputs = node.outputs()
        #expect(outputs.map(\.kind) == [.response])
        return try finish(outputs[0].bytes)
    }
}
