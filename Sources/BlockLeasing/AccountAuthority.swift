package import Directory
import Glibc
import Linux
package import Membership
import Sodium

/// The authority of the cluster that this node is in: it knows the node by the service account of this pod.
///
/// Token and public text are read for each conversation: the kubelet exchanges both in place.
package struct AccountAuthority: BlockAuthority {
    private let token: AccountTokenFile
    private let hubFile: String
    private let proxies: ProxyRules

    package init(tokenFile: String, hubFile: String, proxies: ProxyRules) {
        token = AccountTokenFile(path: tokenFile)
        self.hubFile = hubFile
        self.proxies = proxies
    }

    package func name() throws(LeaseError) -> AuthorityName {
        let hub = try hub()
        return AuthorityName(mesh: hub.mesh, key: hub.authorityKey)
    }

    /// - Parameter name: not sent: the hub takes the node's name from the token.
    package func lease(to identity: Identity, name: String) async throws(LeaseError) -> AuthorityClient.Leased {
        let hub = try hub()
        do throws(DirectoryError) {
            let client = try AuthorityClient(hub: hub, proxy: proxies.proxy(for: hub.address.host))
            return try await token.withToken { (token) async throws(DirectoryError) in
                try await client.lease(account: token, identity: identity)
            }
        } catch { throw .hub(error) }
    }

    private func hub() throws(LeaseError) -> HubReference {
        let advice = "take what `warren-hub advertise --public` prints"
        do {
            let bytes = try FileDescriptor(open: hubFile, O_RDONLY | O_NONBLOCK).readToEnd(limit: 4096)
            return try HubReference(String(decoding: bytes, as: UTF8.self))
        } catch { throw .credential("hub's public text in \(hubFile): \(error); \(advice)") }
    }
}
