import NIOSSL
import Synchronization
package import Timing

/// What the server shows in a handshake now. Changing it leaves connections that are there alone.
package final class ServingIdentity: Sendable {
    private struct State {
        var context: NIOSSLContext?
        var leaf: KeyedCertificate?
        var authorityEnd: WallTime?
        var changes = 0
    }

    private let state = Mutex(State())

    package init() {}

    /// Shows `leaf` in all handshakes from now on. Nothing changes when it is the one already.
    package func show(_ leaf: KeyedCertificate, authorityEnd: WallTime?) throws(InjectorError) {
        guard state.withLock({ $0.leaf }) != leaf else {
            return state.withLock { $0.authorityEnd = authorityEnd }
        }
        let context: NIOSSLContext
        do {
            var configuration = TLSConfiguration.makeServerConfiguration(
                certificateChain: try NIOSSLCertificate.fromPEMBytes(Array(leaf.certificate.utf8)).map {
                    .certificate($0)
                },
                privateKey: .privateKey(try NIOSSLPrivateKey(bytes: Array(leaf.key.utf8), format: .pem)))
            configuration.minimumTLSVersion = .tlsv12
            configuration.applicationProtocols = ["http/1.1"]
            context = try NIOSSLContext(configuration: configuration)
        } catch { throw .certificate("use the one that ends \(leaf.notAfter.seconds): \(error)") }
        state.withLock {
            if $0.leaf != nil { $0.changes += 1 }
            ($0.context, $0.leaf, $0.authorityEnd) = (context, leaf, authorityEnd)
        }
    }

    var context: NIOSSLContext? { state.withLock { $0.context } }

    /// When leaf and authority end (nil where not known), and how often the leaf has changed.
    package var life: (leaf: WallTime?, authority: WallTime?, changes: Int) {
        state.withLock { ($0.leaf?.notAfter, $0.authorityEnd, $0.changes) }
    }

    package func isValid(at now: WallTime) -> Bool {
        state.withLock { $0.leaf.map { $0.notBefore <= now && now < $0.notAfter } ?? false }
    }
}
