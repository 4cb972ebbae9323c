import Addressing
import Membership
import Sodium
import Timing

/// What a verified record claims for its agent, and whether it gets it: judged before anything is changed.
///
/// A chain that verifies proves who the agent is. It does not prove that its claim is the newest: the authority never gives
/// one address to two live agents, but an agent can show a credential from before it gave an address up. Nor that the
/// WireGuard key which it announces is its own: only a handshake proves that.
struct PeerClaim: Equatable {
    let id: AgentID
    let addresses: [IPAddress]
    let issued: WallTime
    let sequence: UInt64
    let key: X25519.PublicKey

    /// A claim that was accepted, and what has become of it.
    struct Holder {
        let claim: PeerClaim
        /// A handshake has proved that the key is this agent's.
        let isVerified: Bool
        let learned: MonotonicTime
    }

    enum Refusal: Equatable {
        /// The agent's own credential from before the one that is known.
        case outdatedCredential
        /// Another agent holds the address by a newer credential.
        case address
        /// Another agent holds the key.
        case key
    }

    enum Verdict: Equatable {
        /// Says nothing newer than what is known of the agent.
        case known
        /// Takes effect; the claims of these other agents end.
        case accepted(displacing: [AgentID])
        case refused(Refusal)
    }

    /// How long a key that is not proved yet is kept for who announced it first.
    static let keyGrace = Interval.seconds(5)

    func judged(against holders: some Sequence<Holder>, now: MonotonicTime) -> Verdict {
        var displaced: [AgentID] = []
        for holder in holders {
            let other = holder.claim
            if other.id == id {
                guard sequence > other.sequence || (sequence == other.sequence && issued > other.issued) else {
                    return .known
                }
                guard issued >= other.issued else { return .refused(.outdatedCredential) }
                continue
            }
            let sharesKey = other.key == key
            if sharesKey, holder.isVerified || now.since(holder.learned) < Self.keyGrace { return .refused(.key) }
            let sharesAddress = other.addresses.contains(where: addresses.contains)
            if sharesAddress, other.issued > issued { return .refused(.address) }
            if sharesKey || sharesAddress { displaced.append(other.id) }
        }
        return .accepted(displacing: displaced)
    }
}

extension PeerClaim {
    init(_ record: VerifiedRecord, key: X25519.PublicKey) {
        self.init(
            id: record.id, addresses: record.credential.addresses, issued: record.credential.issued,
            sequence: record.announcement.sequence, key: key)
    }

    /// The preshared key of two agents' sessions. It is no secret: it ties a session to the two identities, so that a
    /// handshake fails where one of them announced a WireGuard key that is a third agent's.
    static func binding(_ one: AgentID, _ other: AgentID) throws(SodiumError) -> SecretKey {
        let context = Array("warren session 1".utf8)
        return try SecretKey(copying: Blake2b.hash(context + min(one, other).bytes + max(one, other).bytes))
    }
}
