package import Addressing
package import Sodium
package import Timing

/// A credential and an announcement as text, from a directory or a peer that nobody trusts.
package struct Record: Hashable, Sendable {
    package let credential: String
    package let announcement: String

    package init(credential: String, announcement: String) {
        self.credential = credential
        self.announcement = announcement
    }
}

/// A record whose chain holds: authority key → credential → identity key → announcement → WireGuard keys.
package struct VerifiedRecord: Equatable, Sendable {
    package let credential: Credential
    package let announcement: Announcement
    /// The WireGuard keys that may be used at the time of verification, in the announcement's order; never empty.
    package let keys: [X25519.PublicKey]

    package var id: AgentID { announcement.id }
    package var record: Record { Record(credential: credential.text, announcement: announcement.text) }
}

/// Verifies records offline against the two things that a join token pins: the mesh and its authority's key.
package struct RecordVerifier: Sendable {
    package let mesh: String
    package let authorityKey: Ed25519.PublicKey

    package init(mesh: String, authorityKey: Ed25519.PublicKey) {
        self.mesh = mesh
        self.authorityKey = authorityKey
    }

    /// Verifies every link of the chain at `now`.
    ///
    /// - Parameter known: the sequence number of the agent's record that is held already; only a higher one is accepted.
    package func verify(_ record: Record, now: WallTime, known: UInt64? = nil) throws(MembershipError) -> VerifiedRecord
    {
        let credential = try Credential(
            verifying: record.credential, mesh: mesh, authorityKey: authorityKey, now: now)
        let announcement = try Announcement(
            verifying: record.announcement, identityKey: credential.identityKey, now: now)
        if let known, announcement.sequence <= known {
            throw .staleSequence(known: known, got: announcement.sequence)
        }
        let keys = announcement.keys.filter { $0.isValid(at: now) }.map(\.key)
        guard !keys.isEmpty else { throw .noValidKey }
        return VerifiedRecord(credential: credential, announcement: announcement, keys: keys)
    }
}
