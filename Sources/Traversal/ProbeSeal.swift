package import Addressing
package import Sodium

/// Seals and opens the probes between this agent and one peer: authenticated before anything else is looked at.
///
/// A sealed probe, the same whether it travels direct, through a relay or as a directory signal:
///
/// ```
///  0       1         2     4              8               16              32
/// +-------+---------+-----+--------------+---------------+---------------+--------------------------+
/// | 0xD1  | version | 0 0 | epoch (BE)   | counter (BE)  | source id     | ciphertext, 16-byte tag  |
/// +-------+---------+-----+--------------+---------------+---------------+--------------------------+
/// ```
///
/// XChaCha20-Poly1305; the nonce is bytes 0…23 and the additional data bytes 0…31 and the destination id. Each direction
/// has its own key, derived from the Diffie-Hellman of both static WireGuard keys, both ids and both static keys. The
/// epoch is the sender's start time, and the counter never repeats in an epoch, so a nonce never repeats under a key: who
/// makes a second seal for the same keys and epoch (a peer forgotten and found again) gives it another incarnation.
/// Owned by one thread.
package struct ProbeSeal: ~Copyable {
    package static let type: UInt8 = 0xD1
    package static let version: UInt8 = 2
    package static let headerSize = 32
    package static let overhead = headerSize + XChaChaPoly.tagSize
    /// What a padded ping has at most.
    package static let maximumSize = 9000

    package enum Refusal: Error, Equatable {
        case malformed
        case authentication
        case replayed
    }

    private let localID: AgentID
    private let remoteID: AgentID
    private let epoch: UInt32
    private let sendKey: SecretKey
    private let receiveKey: SecretKey
    private var counter: UInt64
    private var receivedEpoch: UInt32 = 0
    private var window = ProbeWindow()

    /// - Parameters:
    ///   - epoch: seconds since 1970 at which this process made its static key.
    ///   - incarnation: higher than that of every seal that this process made for the same keys; each has 2^40 counters.
    /// - Throws: `smallOrderPoint` for a peer key that nobody can hold.
    package init(
        localID: AgentID, localKey: borrowing SecretKey, remoteID: AgentID, remoteKey: X25519.PublicKey, epoch: UInt32,
        incarnation: UInt32 = 0
    ) throws(SodiumError) {
        let shared = try X25519.sharedSecret(localKey, remoteKey)
        let localPublic = X25519.publicKey(of: localKey)
        let sendKey = try Self.key(from: shared, localID, localPublic, remoteID, remoteKey)
        let receiveKey = try Self.key(from: shared, remoteID, remoteKey, localID, localPublic)
        self.sendKey = sendKey
        self.receiveKey = receiveKey
        self.localID = localID
        self.remoteID = remoteID
        self.epoch = epoch
        counter = UInt64(incarnation & 0xff_ffff) << 40
    }

    /// The agent that a probe says it is from, before anything is verified; nil for what is not a probe.
    package static func source(of datagram: RawSpan) -> AgentID? {
        guard datagram.byteCount >= overhead, datagram.byteCount <= maximumSize,
            unsafe datagram.unsafeLoad(fromByteOffset: 0, as: UInt8.self) == type,
            unsafe datagram.unsafeLoad(fromByteOffset: 1, as: UInt8.self) == version
        else { return nil }
        return AgentID(datagram.extracting(16..<32))
    }

    package mutating func seal(_ message: ProbeMessage) -> [UInt8] {
        counter += 1
        var header: [UInt8] = [Self.type, Self.version, 0, 0]
        header.reserveCapacity(Self.headerSize + 16)
        header.append(bigEndian: epoch)
        header.append(bigEndian: counter)
        header.append(bigEndian: localID.high)
        header.append(bigEndian: localID.low)
        return header
            + XChaChaPoly.seal(
                message.encode(), additionalData: header + remoteID.bytes, nonce: Array(header[..<24]), key: sendKey)
    }

    /// The message in a datagram of this peer. Nothing changes unless it verifies and was not seen before.
    package mutating func open(_ datagram: [UInt8]) throws(Refusal) -> ProbeMessage {
        guard datagram.count >= Self.overhead, datagram.count <= Self.maximumSize, datagram[0] == Self.type,
            datagram[1] == Self.version, datagram[2] == 0, datagram[3] == 0, AgentID(datagram[16..<32]) == remoteID
        else { throw .malformed }
        let header = Array(datagram[..<Self.headerSize])
        let plaintext: [UInt8]
        do {
            plaintext = try XChaChaPoly.open(
                Array(datagram[Self.headerSize...]), additionalData: header + localID.bytes,
                nonce: Array(header[..<24]),
                key: receiveKey)
        } catch { throw .authentication }
        let epoch = header[4..<8].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        let counter = header[8..<16].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        if epoch > receivedEpoch {
            receivedEpoch = epoch
            window = ProbeWindow()
        }
        guard epoch == receivedEpoch, window.accept(counter) else { throw .replayed }
        guard let message = ProbeMessage(decoding: plaintext) else { throw .malformed }
        return message
    }

    private static func key(
        from shared: borrowing SecretKey, _ source: AgentID, _ sourceKey: X25519.PublicKey, _ destination: AgentID,
        _ destinationKey: X25519.PublicKey
    ) throws(SodiumError) -> SecretKey {
        let context = Array("warren probe 2".utf8)
        return try Blake2b.deriveKey(
            context + source.bytes + sourceKey.bytes + destination.bytes + destinationKey.bytes, from: shared)
    }
}
