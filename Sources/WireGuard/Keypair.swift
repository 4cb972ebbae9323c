import AEAD
package import Noise
import Sodium
import Synchronization
package import Timing

/// The keys of one session: seals and opens transport data messages, and knows when it must not any more.
///
/// Touches nothing of the handshake, so that packets can be moved on other threads than it: `seal` on one at a time (shared
/// seals on any), `open` and `accept` on one at a time. Its keys are wiped when the last owner lets it go.
@safe package final class Keypair: @unchecked Sendable {
    // Safe: everything is immutable or atomic but the replay window, which `accept` alone touches.

    /// After so many messages the sender asks for new keys (WireGuard paper 6.1).
    package static let rekeyAfterMessages: UInt64 = 1 << 60
    /// From this counter on nothing is sent or accepted: the replay window's size is kept clear below 2^64.
    package static let rejectAfterMessages: UInt64 = .max - (1 << 13)

    /// What the other side puts into the messages it sends to us.
    package let localIndex: UInt32
    /// What we put into the messages we send.
    package let remoteIndex: UInt32
    package let isInitiator: Bool
    package let created: MonotonicTime
    /// At what age its initiator asks for new keys: rekeyAfterTime, or a little later.
    package let rekeyAfter: Interval

    /// Whose session it is; nil in tests of keypairs alone. The peer's table keeps it alive.
    let peer: PeerReference?

    /// When the device was last told that its time for new keys has come; 0 before.
    private let rekeyTold = Atomic<UInt64>(0)
    private let rekeyOnReceiveTold = Atomic(false)
    private let unconfirmed: Atomic<Bool>

    private let sealing: PacketCipher
    private let opening: PacketCipher
    private let sendCounter: Atomic<UInt64>
    @exclusivity(unchecked) private var replay = ReplayWindow()

    /// `sendCounter` other than 0 is for tests of the limits.
    package init(
        _ keys: consuming TransportKeys, isInitiator: Bool, localIndex: UInt32, remoteIndex: UInt32,
        created: MonotonicTime, rekeyAfter: Interval = Timers.rekeyAfterTime, sendCounter: UInt64 = 0,
        link: PeerLink? = nil
    ) {
        peer = link.map { PeerReference($0) }
        unconfirmed = Atomic(!isInitiator)
        self.localIndex = localIndex
        self.remoteIndex = remoteIndex
        self.isInitiator = isInitiator
        self.created = created
        self.rekeyAfter = rekeyAfter
        self.sendCounter = Atomic(sendCounter)
        let ordered = keys.ordered(isInitiator: isInitiator)
        sealing = PacketCipher(ordered.send)
        opening = PacketCipher(ordered.receive)
    }

    /// How many messages were sealed.
    package var sent: UInt64 { sendCounter.load(ordering: .relaxed) }

    /// Whether it may still seal: younger than rejectAfterTime, and counters left.
    package func canSend(_ now: MonotonicTime) -> Bool {
        now.since(created) < Timers.rejectAfterTime && sent < Self.rejectAfterMessages
    }

    /// Whether it may still open: younger than rejectAfterTime.
    package func canReceive(_ now: MonotonicTime) -> Bool { now.since(created) < Timers.rejectAfterTime }

    // MARK: What the device is to be told

    /// Whether its initiator should ask for new keys now (WireGuard paper 6.2). Said at most once a second.
    func isDueForRekey(_ now: MonotonicTime) -> Bool {
        guard sent > Self.rekeyAfterMessages || (isInitiator && now.since(created) >= rekeyAfter) else { return false }
        let told = rekeyTold.load(ordering: .relaxed)
        return told == 0 || now.nanoseconds &- told >= 1_000_000_000
    }

    package func toldRekey(_ now: MonotonicTime) { rekeyTold.store(now.nanoseconds, ordering: .relaxed) }

    /// Whether its initiator should ask for new keys because it still receives with old ones. Said once.
    func isDueForRekeyOnReceive(_ now: MonotonicTime) -> Bool {
        isInitiator && now.since(created) >= Timers.rekeyOnReceiveTime && !rekeyOnReceiveTold.load(ordering: .relaxed)
    }

    package func toldRekeyOnReceive() { rekeyOnReceiveTold.store(true, ordering: .relaxed) }

    /// Whether it was answered for, and its initiator's first packet was not told of.
    var awaitsConfirmation: Bool { unconfirmed.load(ordering: .relaxed) }

    package func toldConfirmed() { unconfirmed.store(false, ordering: .relaxed) }

    // MARK: Packets

    /// Never seals again; opens until its time is over. For when the device's own key changes.
    package func stopSending() { sendCounter.store(Self.rejectAfterMessages, ordering: .relaxed) }

    /// Writes a transport data message with `inner`, padded with zeros to `padded` bytes, to `output`, which has room for
    /// `padded + 32`. `inner` may be at `output + 16`, else they must not overlap. Returns the message's length; nil when
    /// no counter is left.
    ///
    /// - Parameter isShared: another thread may be sealing too.
    @inline(__always)
    package func seal(
        _ inner: UnsafeRawBufferPointer, padded: Int, into output: UnsafeMutableRawBufferPointer,
        isShared: Bool = false
    ) -> Int? {
        precondition(padded >= inner.count && output.count >= padded + TransportHeader.overhead)
        let counter = sendCounter.wrappingAdd(1, ordering: .relaxed).oldValue
        guard counter < Self.rejectAfterMessages else {
            // Stays put, and does not wrap around however often it is asked.
            stopSending()
            return nil
        }
        guard let base = output.baseAddress else { return nil }
        let body = unsafe (base + TransportHeader.size).assumingMemoryBound(to: UInt8.self)
        var plaintext = unsafe inner.baseAddress?.assumingMemoryBound(to: UInt8.self)
        if padded > inner.count {
            if let source = inner.baseAddress, unsafe source != UnsafeRawPointer(body) {
                unsafe UnsafeMutableRawPointer(body).copyMemory(from: source, byteCount: inner.count)
            }
            unsafe (body + inner.count).update(repeating: 0, count: padded - inner.count)
            unsafe plaintext = UnsafePointer(body)
        }
        unsafe TransportHeader(receiver: remoteIndex, counter: counter).store(to: base)
        if isShared {
            unsafe sealing.sealShared(plaintext, count: padded, counter: counter, into: body)
        } else {
            unsafe sealing.seal(plaintext, count: padded, counter: counter, into: body)
        }
        return padded + TransportHeader.overhead
    }

    /// Opens a whole transport data message in place: what it carries is then from byte 16 to 16 before the end. False
    /// when it is forged or damaged.
    package func open(_ message: UnsafeMutableRawBufferPointer, counter: UInt64) -> Bool {
        guard message.count >= TransportHeader.minimumSize, let base = message.baseAddress else { return false }
        let body = unsafe (base + TransportHeader.size).assumingMemoryBound(to: UInt8.self)
        return unsafe opening.open(body, count: message.count - TransportHeader.size, counter: counter)
    }

    /// Whether `counter`, of a message that `open` accepted, is new. One thread at a time.
    package func accept(_ counter: UInt64) -> Bool {
        guard counter < Self.rejectAfterMessages else { return false }
        return unsafe replay.accept(counter)
    }
}

/// The keys of a session as one end uses them.
private struct OrderedKeys: ~Copyable {
    let send: SecretKey
    let receive: SecretKey
}

extension TransportKeys {
    fileprivate consuming func ordered(isInitiator: Bool) -> OrderedKeys {
        take { fromInitiator, fromResponder in
            if isInitiator { return OrderedKeys(send: fromInitiator, receive: fromResponder) }
            return OrderedKeys(send: fromResponder, receive: fromInitiator)
        }
    }
}
