import Certificates
import Timing

/// The hub's self-signed certificate. Agents trust it by its pinned key alone, so that it lives for 20 years and no one renews
/// it.
package struct TLSCertificate: Sendable {
    /// PEM (RFC 7468), the key as PKCS #8.
    package let certificate: String
    package let privateKey: String

    /// - Parameter host: the subject alternative name; a DNS name or an IP address.
    package init(mesh: String, host: String) throws(HubError) {
        let isAddress = host.contains(":") || host.split(separator: ".").allSatisfy { UInt8($0) != nil }
        // From yesterday, for clocks that are behind.
        let start = WallTime.now().seconds - 86400
        let subject = String(decoding: "warren hub \(mesh)".utf8.prefix(64), as: UTF8.self)
        do {
            let made = try CertificateWriter.issue(
                subject: subject, from: start, to: start + 20 * 365 * 86400,
                extensions: [
                    (.basicConstraints, "critical,CA:FALSE"),
                    (.subjectAlternativeName, (isAddress ? "IP:" : "DNS:") + host),
                ])
            certificate = made.certificate
            privateKey = made.key
        } catch { throw .tls("certificate for \(host): \(error)") }
    }
}
