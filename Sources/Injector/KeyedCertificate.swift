import NIOSSL
package import Timing

/// A certificate with its private key, both as PEM (RFC 7468).
package struct KeyedCertificate: Equatable, Sendable {
    package let certificate: String
    package let key: String
    package let notBefore: WallTime
    package let notAfter: WallTime

    package init(certificate: String, key: String) throws(InjectorError) {
        let parsed: NIOSSLCertificate
        do {
            guard let first = try NIOSSLCertificate.fromPEMBytes(Array(certificate.utf8)).first else {
                throw InjectorError.certificate("there is none in the PEM text")
            }
            parsed = first
            _ = try NIOSSLPrivateKey(bytes: Array(key.utf8), format: .pem)
        } catch { throw .certificate("not valid PEM: \(error)") }
        self.certificate = certificate
        self.key = key
        notBefore = WallTime(seconds: Int64(parsed.notValidBefore))
        notAfter = WallTime(seconds: Int64(parsed.notValidAfter))
    }

    /// When two thirds of its life are over: a third is left to replace it in.
    package var renewal: WallTime {
        WallTime(seconds: notBefore.seconds + (notAfter.seconds - notBefore.seconds) / 3 * 2)
    }

    /// When the certificate in a PEM text ends; nil if it is none.
    static func end(of certificate: String) -> WallTime? {
        (try? NIOSSLCertificate.fromPEMBytes(Array(certificate.utf8)).first)
            .map { WallTime(seconds: Int64($0.notValidAfter)) }
    }
}
