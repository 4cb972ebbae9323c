import Membership
import Sodium
import Timing

// How long a record may be used, by the wall clock.
extension VerifiedRecord {
    /// When a peer with this record and `key` must have a newer one: the earliest end in the chain.
    func end(ofKey key: X25519.PublicKey) -> WallTime {
        let keyEnd = announcement.keys.first { $0.key == key }?.expires ?? announcement.expires
        return min(credential.expires, announcement.expires, keyEnd)
    }

    func isExpired(key: X25519.PublicKey, at wall: WallTime) -> Bool {
        wall.seconds >= end(ofKey: key).seconds + Credential.leeway
    }

    /// Whether the directory should be asked for a newer record: in the last quarter of this one's life, when an agent that
    /// lives has renewed it long ago.
    func isDueForRefresh(key: X25519.PublicKey, at wall: WallTime) -> Bool {
        let end = end(ofKey: key).seconds
        return wall.seconds >= end - (end - credential.issued.seconds) / 4
    }
}
