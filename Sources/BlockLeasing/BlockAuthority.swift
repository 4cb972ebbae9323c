package import Directory
package import Membership
package import Sodium

/// Who leases blocks to this node, and how the node proves to it that it may have one. Each way to prove it is a type of
/// its own: all that the rest knows of it is here.
package protocol BlockAuthority: Sendable {
    /// Which authority it is, as far as that can be told without asking it.
    func name() throws(LeaseError) -> AuthorityName

    /// One conversation: leases a block to the node, or makes the lease that it has last longer.
    func lease(to identity: Identity, name: String) async throws(LeaseError) -> AuthorityClient.Leased
}

/// What tells authorities apart: a lease of one is none of another.
package struct AuthorityName: Equatable, Sendable {
    package let mesh: String
    package let key: Ed25519.PublicKey

    package init(mesh: String, key: Ed25519.PublicKey) {
        self.mesh = mesh
        self.key = key
    }
}
