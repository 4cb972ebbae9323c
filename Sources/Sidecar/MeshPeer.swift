import Addressing
import Membership
import Sodium
import Timing
import WireGuard

/// A peer that this agent talks to: its verified record and its place in the device. Owned by `Peering` and its thread.
final class MeshPeer {
    let id: AgentID
    var record: VerifiedRecord
    var device: PeerID
    let key: X25519.PublicKey
    let learned: MonotonicTime
    /// From learning of the peer to its first direct path.
    var directAfter: Interval?
    /// Whether a handshake with this key was completed.
    var isVerified = false
    var lastUsed: MonotonicTime
    /// When the directory may be asked again for a newer record.
    var nextRefresh = MonotonicTime.zero
    var introduction: PendingIntroduction?

    /// The introduction goes beside the initiation, and both again until the peer answers.
    struct PendingIntroduction {
        let initiation: [UInt8]
        var path: Path
        var next: MonotonicTime
        var repeats = 0

        /// From one sending to the next; WireGuard itself makes a new initiation after five seconds.
        static let spacing: [Interval] = [.milliseconds(250), .milliseconds(250), .milliseconds(500), .seconds(1)]
    }

    init(record: VerifiedRecord, device: PeerID, key: X25519.PublicKey, now: MonotonicTime) {
        id = record.id
        self.record = record
        self.device = device
        self.key = key
        learned = now
        lastUsed = now
    }

    var name: String { record.credential.name }
}
