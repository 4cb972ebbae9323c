package import Directory
import Glibc
import Linux
package import Membership
import Sodium

/// The authority that a node's join token names (`warren-hub token create --node`).
///
/// The file is read for each conversation, so that a token that is replaced, as a mounted secret is, counts at the next,
/// and none is kept in memory meanwhile.
package struct TokenAuthority: BlockAuthority {
    private let file: String
    private let proxies: ProxyRules

    package init(file: String, proxies: ProxyRules) {
        self.file = file
        self.proxies = proxies
    }

    package func name() throws(LeaseError) -> AuthorityName {
        let token = try token()
        return AuthorityName(mesh: token.mesh, key: token.authorityKey)
    }

    package func lease(to identity: Identity, name: String) async throws(LeaseError) -> AuthorityClient.Leased {
        let token = try token()
        do throws(DirectoryError) {
            // While a lease is live its renewal spends no use of the token, nor has the token to be valid.
            return try await AuthorityClient(token: token, proxy: proxies.proxy(for: token.address.host))
                .lease(secret: token.secret, identity: identity, name: name)
        } catch { throw .hub(error) }
    }

    private func token() throws(LeaseError) -> JoinToken {
        let advice = "make one with `warren-hub token create --node`"
        var bytes: [UInt8]
        // Not blocking: opening a FIFO would wait for its writer.
        do { bytes = try FileDescriptor(open: file, O_RDONLY | O_NONBLOCK).readToEnd(limit: 4096) } catch {
            throw .credential("read the node's join token: \(error); \(advice)")
        }
        defer { unsafe bytes.withUnsafeMutableBytes { unsafe wipe($0) } }
        do { return try JoinToken(String(decoding: bytes, as: UTF8.self)) } catch {
            throw .credential("node's join token in \(file): \(error); \(advice)")
        }
    }
}
