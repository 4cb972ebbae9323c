import Addressing
import Noise
import Sodium
import Testing

func hex(_ text: String) throws -> [UInt8] { try #require(Hexadecimal.decode(text)) }
func text(_ bytes: [UInt8]) -> String { Hexadecimal.encode(bytes) }
func secret(_ text: String) throws -> SecretKey { try SecretKey(copying: hex(text)) }

func seal(_ plaintext: [UInt8], _ key: borrowing SecretKey, _ counter: UInt64) throws -> [UInt8] {
    var output = [UInt8](repeating: 0, count: plaintext.count + 16)
    unsafe output.withUnsafeMutableBufferPointer { output in
        unsafe ChaChaPoly.seal(
            plaintext, count: plaintext.count, additionalData: UnsafeRawBufferPointer(start: nil, count: 0),
            counter: counter, key: key, into: output.baseAddress!)
    }
    return output
}

func seal(
    _ plaintext: [UInt8], _ keys: borrowing TransportKeys, fromInitiator: Bool, _ counter: UInt64
) throws -> [UInt8] {
    if fromInitiator { return try seal(plaintext, keys.fromInitiator, counter) }
    return try seal(plaintext, keys.fromResponder, counter)
}

/// Two parties who know each other's static keys.
struct Ends: ~Copyable {
    let initiator: StaticKey
    let responder: StaticKey
    let psk: SecretKey
    let staticStatic: SecretKey
    let prologue: [UInt8]

    init(initiator: String, responder: String, psk: String, prologue: String) throws {
        let staticStatic = try X25519.sharedSecret(secret(initiator), X25519.publicKey(of: secret(responder)))
        let initiatorKey = StaticKey(try secret(initiator))
        let responderKey = StaticKey(try secret(responder))
        let psk = try secret(psk)
        let prologue = try hex(prologue)
        self.staticStatic = staticStatic
        self.initiator = initiatorKey
        self.responder = responderKey
        self.psk = psk
        self.prologue = prologue
    }

    static func random(seed: UInt8) throws -> Ends {
        func key(_ byte: UInt8) -> String { text([UInt8](repeating: byte, count: 32)) }
        return try Ends(initiator: key(seed), responder: key(seed + 50), psk: key(seed + 100), prologue: "00ff")
    }

    func initiate(
        ephemeral: String, payload: [UInt8], message: inout [UInt8]
    ) throws -> HandshakeState.Initiator {
        try unsafe HandshakeState.Initiator(
            local: initiator, remote: responder.publicKey, staticStatic: staticStatic, ephemeral: secret(ephemeral),
            prologue: prologue.span.bytes, payload: payload.span.bytes, message: &message)
    }

    func receive(_ initiation: [UInt8]) throws -> HandshakeState.Responder {
        try unsafe HandshakeState.Responder(
            initiation: initiation.span.bytes, local: responder, prologue: prologue.span.bytes)
    }
}
