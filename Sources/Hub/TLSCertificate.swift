import COpenSSL
import Glibc

/// The hub's self-signed certificate: ECDSA on P-256 (RFC 5480), made with libcrypto. Agents trust it by its pinned key
/// alone, so that it lives for 20 years and no one renews it.
package struct TLSCertificate: Sendable {
    /// PEM (RFC 7468), the key as PKCS #8.
    package let certificate: String
    package let privateKey: String

    /// - Parameter host: the subject alternative name; a DNS name or an IP address.
    package init(mesh: String, host: String) throws(HubError) {
        let isAddress = host.contains(":") || host.split(separator: ".").allSatisfy { UInt8($0) != nil }
        let alternative = (isAddress ? "IP:" : "DNS:") + host
        guard let key = unsafe Self.makeKey() else { throw .tls("make a P-256 key") }
        defer { unsafe EVP_PKEY_free(key) }
        guard let certificate = unsafe Self.makeCertificate(key, mesh: mesh, alternative: alternative) else {
            throw .tls("make a certificate for \(host)")
        }
        defer { unsafe X509_free(certificate) }
        let certificatePEM = unsafe Self.pem { unsafe PEM_write_bio_X509($0, certificate) == 1 }
        let keyPEM = unsafe Self.pem { unsafe PEM_write_bio_PrivateKey($0, key, nil, nil, 0, nil, nil) == 1 }
        guard let certificatePEM, let keyPEM else { throw .tls("write PEM") }
        self.certificate = certificatePEM
        privateKey = keyPEM
    }

    private static func makeKey() -> OpaquePointer? {
        guard let context = unsafe EVP_PKEY_CTX_new_id(EVP_PKEY_EC, nil) else { return nil }
        defer { unsafe EVP_PKEY_CTX_free(context) }
        guard unsafe EVP_PKEY_keygen_init(context) == 1,
            unsafe EVP_PKEY_CTX_set_ec_paramgen_curve_nid(context, NID_X9_62_prime256v1) == 1
        else { return nil }
        var key: OpaquePointer?
        guard unsafe EVP_PKEY_keygen(context, &key) == 1 else { return nil }
        return unsafe key
    }

    private static func makeCertificate(_ key: OpaquePointer, mesh: String, alternative: String) -> OpaquePointer? {
        guard let certificate = unsafe X509_new() else { return nil }
        if unsafe fill(certificate, key, mesh: mesh, alternative: alternative) { return unsafe certificate }
        unsafe X509_free(certificate)
        return nil
    }

    private static func fill(
        _ certificate: OpaquePointer, _ key: OpaquePointer, mesh: String, alternative: String
    ) -> Bool {
        // Version 3; 159 random bits of serial number (RFC 5280 4.1.2.2); valid from yesterday, for clocks that are behind.
        guard unsafe X509_set_version(certificate, 2) == 1, let serial = unsafe BN_new() else { return false }
        defer { unsafe BN_free(serial) }
        guard unsafe BN_rand(serial, 159, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) == 1,
            unsafe BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(certificate)) != nil,
            unsafe X509_gmtime_adj(X509_getm_notBefore(certificate), -86400) != nil,
            unsafe X509_gmtime_adj(X509_getm_notAfter(certificate), 20 * 365 * 86400) != nil,
            unsafe X509_set_pubkey(certificate, key) == 1,
            let name = unsafe X509_get_subject_name(certificate)
        else { return false }
        let text = Array("warren hub \(mesh)".utf8.prefix(64))
        guard
            unsafe X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, text, Int32(text.count), -1, 0) == 1,
            unsafe X509_set_issuer_name(certificate, name) == 1,
            unsafe add(NID_basic_constraints, "critical,CA:FALSE", to: certificate),
            unsafe add(NID_subject_alt_name, alternative, to: certificate)
        else { return false }
        return unsafe X509_sign(certificate, key, EVP_sha256()) > 0
    }

    private static func add(_ nid: Int32, _ value: String, to certificate: OpaquePointer) -> Bool {
        guard let extensionValue = unsafe X509V3_EXT_conf_nid(nil, nil, nid, value) else { return false }
        defer { unsafe X509_EXTENSION_free(extensionValue) }
        return unsafe X509_add_ext(certificate, extensionValue, -1) == 1
    }

    private static func pem(_ write: (OpaquePointer) -> Bool) -> String? {
        guard let memory = unsafe BIO_new(BIO_s_mem()) else { return nil }
        defer { unsafe BIO_free(memory) }
        guard unsafe write(memory) else { return nil }
        var bytes = [UInt8](repeating: 0, count: 8192)
        let count = unsafe BIO_read(memory, &bytes, Int32(bytes.count))
        return count > 0 ? String(validating: bytes.prefix(Int(count)), as: UTF8.self) : nil
    }
}
