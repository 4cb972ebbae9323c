import Certificates
package import Timing

/// An authority of our own, and what it signs for the webhook's Service. ECDSA on P-256, which every API server since
/// Kubernetes 1.0 takes.
package enum CertificateIssuer {
    /// Clocks that are behind must take it too.
    private static let backdating: Int64 = 300

    /// A self-signed authority for `life` seconds from `now`, which may sign servers and no further authority.
    package static func authority(life: Int64, now: WallTime) throws(InjectorError) -> KeyedCertificate {
        try issue(
            subject: "warren-injector CA", by: nil, from: now.seconds - backdating, to: now.seconds + life,
            extensions: [
                (.basicConstraints, "critical,CA:TRUE,pathlen:0"),
                (.keyUsage, "critical,keyCertSign,cRLSign"),
            ])
    }

    /// A server's certificate for `names`, which ends with its authority at the latest.
    package static func leaf(
        _ names: [String], by authority: KeyedCertificate, life: Int64, now: WallTime
    ) throws(InjectorError) -> KeyedCertificate {
        guard !names.isEmpty, names.allSatisfy(isDNSName) else {
            throw .certificate("names \(names): DNS names are needed")
        }
        return try issue(
            subject: "warren-injector", by: authority, from: now.seconds - backdating,
            to: min(now.seconds + life, authority.notAfter.seconds),
            extensions: [
                (.basicConstraints, "critical,CA:FALSE"), (.keyUsage, "critical,digitalSignature"),
                (.extendedKeyUsage, "serverAuth"),
                (.subjectAlternativeName, names.map { "DNS:\($0)" }.joined(separator: ",")),
            ])
    }

    /// No comma or colon, which would be further names to libcrypto.
    package static func isDNSName(_ text: String) -> Bool {
        (1...253).contains(text.utf8.count)
            && text.utf8.allSatisfy { byte in
                (0x30...0x39).contains(byte) || (0x61...0x7a).contains(byte | 0x20) || byte == UInt8(ascii: "-")
                    || byte == UInt8(ascii: ".")
            }
    }

    private static func issue(
        subject: String, by authority: KeyedCertificate?, from start: Int64, to end: Int64,
        extensions: [(kind: CertificateWriter.Extension, value: String)]
    ) throws(InjectorError) -> KeyedCertificate {
        let made: CertificateWriter.Pair
        do {
            made = try CertificateWriter.issue(
                subject: subject, by: authority.map { .init(certificate: $0.certificate, key: $0.key) }, from: start,
                to: end, extensions: extensions)
        } catch { throw .certificate(error.description) }
        return try KeyedCertificate(certificate: made.certificate, key: made.key)
    }
}
