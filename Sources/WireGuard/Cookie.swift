package import Sodium
package import Timing

// mac1 shows that a sender knows who it talks to; mac2, made with a cookie, that it owns the address it sends from.
// Both end every handshake message (WireGuard paper 5.4.4 and 5.4.7).

/// How long a cookie is good, and the secret it is made of (WireGuard paper 6.6).
package let cookieRefreshTime = Interval.seconds(120)

/// The keys that both kinds of MAC are made with, from the public key of the one who checks them.
struct CookieKeys {
    let mac1: Bytes32
    let reply: Bytes32

    init(_ publicKey: X25519.PublicKey) {
        mac1 = Self.hash("mac1----", publicKey)
        reply = Self.hash("cookie--", publicKey)
    }

    private static func hash(_ label: StaticString, _ publicKey: X25519.PublicKey) -> Bytes32 {
        var state = Blake2s()
        unsafe state.update(UnsafeRawBufferPointer(start: label.utf8Start, count: label.utf8CodeUnitCount))
        state.update(publicKey)
        return state.finish()
    }

    /// The first MAC over `bytes`.
    func mac1(_ bytes: RawSpan) -> Bytes16 {
        unsafe mac1.withUnsafeBytes { key in
            unsafe bytes.withUnsafeBytes { unsafe Blake2s.mac(key: key, $0) }
        }
    }
}

/// The second MAC over `bytes`.
private func mac2(_ bytes: RawSpan, cookie: Bytes16) -> Bytes16 {
    unsafe cookie.withUnsafeBytes { key in
        unsafe bytes.withUnsafeBytes { unsafe Blake2s.mac(key: key, $0) }
    }
}

/// Checks the MACs of what is received, and makes cookie replies. One a device.
package struct CookieChecker: ~Copyable {
    private let keys: CookieKeys
    private var secret: SecretKey?
    private var secretMade = MonotonicTime.zero

    package init(_ ownPublicKey: X25519.PublicKey) { keys = CookieKeys(ownPublicKey) }

    /// Whether `message`, a whole handshake message, was made for this device.
    package func hasValidMAC1(_ message: RawSpan) -> Bool {
        let end = message.byteCount - MessageMACs.size
        return keys.mac1(message.extracting(0..<end)).isEqual(to: message.bytes16(at: end))
    }

    /// Whether `message` carries a MAC made with a cookie that this device gave to `source` in the last 120 s.
    package func hasValidMAC2(_ message: RawSpan, from source: PathSource, now: MonotonicTime) -> Bool {
        guard secret != nil, now.since(secretMade) < cookieRefreshTime else { return false }
        let end = message.byteCount - MessageMACs.macSize
        return mac2(message.extracting(0..<end), cookie: cookie(source)).isEqual(to: message.bytes16(at: end))
    }

    /// The answer to `message` whose sender's index is `receiver`: a cookie for `source`, sealed for those who can see
    /// the message's mac1. Throws when there is no memory for the secret.
    package mutating func reply(
        to message: RawSpan, receiver: UInt32, from source: PathSource, now: MonotonicTime,
        using random: inout some RandomNumberGenerator
    ) throws(SodiumError) -> [UInt8] {
        if secret == nil || now.since(secretMade) >= cookieRefreshTime {
            secret = try SecretKey(using: &random)
            secretMade = now
        }
        var nonce: [UInt8] = []
        for _ in 0..<3 { unsafe withUnsafeBytes(of: random.next()) { unsafe nonce.append(contentsOf: $0) } }
        let sealed = XChaChaPoly.seal(
            cookie(source).bytes, additionalData: message.bytes16(at: message.byteCount - MessageMACs.size).bytes,
            nonce: nonce, key: try SecretKey(copying: keys.reply.bytes))
        return CookieReply(receiver: receiver, nonce: nonce, sealedCookie: sealed).bytes
    }

    private func cookie(_ source: PathSource) -> Bytes16 {
        let cookie = unsafe secret?.withBytes { secret in
            unsafe source.withUnsafeBytes {
                unsafe Blake2s.mac(key: UnsafeRawBufferPointer(start: secret, count: 32), $0)
            }
        }
        return cookie ?? .zero
    }
}

/// Makes the MACs of what is sent to one peer, with the cookie that it gave last.
package struct CookieGenerator {
    private let keys: CookieKeys
    private var cookie = Bytes16.zero
    private var cookieReceived: MonotonicTime?
    /// The MAC of the last message that no cookie was received for.
    private var lastMAC1: Bytes16?

    package init(_ remotePublicKey: X25519.PublicKey) { keys = CookieKeys(remotePublicKey) }

    /// Appends mac1 and mac2 (zero without a fresh cookie) to a handshake message.
    package mutating func appendMACs(to message: inout [UInt8], now: MonotonicTime) {
        let mac1 = message.withRawSpan { keys.mac1($0) }
        message += mac1.bytes
        lastMAC1 = mac1
        if let received = cookieReceived, now.since(received) < cookieRefreshTime {
            message += message.withRawSpan { mac2($0, cookie: cookie) }.bytes
        } else {
            cookieReceived = nil
            message += Bytes16.zero.bytes
        }
    }

    /// Takes the cookie out of `reply`, a whole cookie reply; false when it is not an answer to the last message.
    package mutating func consume(_ reply: RawSpan, now: MonotonicTime) -> Bool {
        guard let mac1 = lastMAC1 else { return false }
        let reply = CookieReply(reply)
        guard let key = try? SecretKey(copying: keys.reply.bytes),
            let opened = try? XChaChaPoly.open(
                reply.sealedCookie, additionalData: mac1.bytes, nonce: reply.nonce, key: key)
        else { return false }
        cookie = opened.withRawSpan { $0.bytes16(at: 0) }
        cookieReceived = now
        // The same reply again, perhaps held back by somebody, is of no more use.
        lastMAC1 = nil
        return true
    }
}
