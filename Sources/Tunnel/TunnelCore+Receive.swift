package import Addressing
package import Timing
import WireGuard

// What packet threads hand over.
extension TunnelCore {
    /// How many notes of each thread are taken in before other things have their turn.
    private static var notesPerTurn: Int { 256 }

    /// Takes in what the packet threads have put; whether something is left.
    mutating func takeNotes<Policy: TunnelPolicy & ~Copyable>(
        _ policy: inout Policy, now: MonotonicTime, wall: WallTime
    ) -> Bool {
        for ring in [io.inbound, io.outbound] {
            for _ in 0..<Self.notesPerTurn {
                let isTaken = unsafe ring.take { note, payload in
                    unsafe take(note, payload, &policy, now: now, wall: wall)
                }
                if !isTaken { break }
            }
        }
        return !io.inbound.isEmpty || !io.outbound.isEmpty
    }

    private mutating func take<Policy: TunnelPolicy & ~Copyable>(
        _ note: Note, _ payload: UnsafeMutableRawBufferPointer, _ policy: inout Policy, now: MonotonicTime,
        wall: WallTime
    ) {
        switch note.kind {
        case .sent:
            device.noteSent(note.peer, wantsRekey: note.wantsRekey, now: now, wall: wall)
            device.watch(note.peer, now: now)
            policy.sent(note.peer, now: now)
        case .heard:
            device.noteReceived(note.peer, on: note.path, wantsRekey: note.wantsRekey, now: now, wall: wall)
            device.watch(note.peer, now: now)
            policy.heard(note.peer, on: note.path, now: now)
        case .confirmed: device.confirm(note.index, now: now, wall: wall)
        case .packet: unsafe transmit(UnsafeRawBufferPointer(payload), &policy, now: now, wall: wall)
        case .datagram: unsafe received(payload, from: note.path, &policy, now: now, wall: wall)
        }
    }

    /// A datagram that is not transport data.
    private mutating func received<Policy: TunnelPolicy & ~Copyable>(
        _ datagram: UnsafeMutableRawBufferPointer, from path: Path, _ policy: inout Policy, now: MonotonicTime,
        wall: WallTime
    ) {
        guard unsafe PacketIO.isWireGuard(datagram) else {
            return unsafe policy.received(datagram, from: path, &self, now: now)
        }
        if unsafe datagram[0] == MessageType.initiation.rawValue, case .relayed(_, let agent) = path,
            unsafe !policy.admits(initiation: datagram, from: agent, on: path, &self, now: now)
        {
            return
        }
        unsafe open(datagram, from: path, &policy, now: now, wall: wall)
    }

    /// Hands a handshake message or a cookie reply to the device.
    package mutating func open<Policy: TunnelPolicy & ~Copyable>(
        _ datagram: UnsafeMutableRawBufferPointer, from path: Path, _ policy: inout Policy, now: MonotonicTime,
        wall: WallTime
    ) {
        // Transport data is opened by one thread alone, which has seen it already.
        guard datagram.count > 0, unsafe datagram[0] != MessageType.transport.rawValue else { return }
        let result = unsafe device.decapsulate(datagram, from: path, now: now, wall: wall)
        if let peer = result.authenticatedPeer { policy.heard(peer, on: path, now: now) }
    }
}
