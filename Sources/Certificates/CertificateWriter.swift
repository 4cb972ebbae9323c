import COpenSSL
import Glibc

/// What could not be made.
package struct CertificateError: Error, Equatable, Sendable, CustomStringConvertible {
    package let description: String
    init(_ description: String) { self.description = description }
}

/// Makes certificates with libcrypto: ECDSA on P-256 with SHA-256 (RFC 5480, RFC 5758), version 3.
package enum CertificateWriter {
    /// A certificate and its private key, as PEM (RFC 7468), the key as PKCS #8.
    package struct Pair: Equatable, Sendable {
        package let certificate: String
        package let key: String

        package init(certificate: String, key: String) {
            self.certificate = certificate
            self.key = key
        }
    }

    /// An extension of RFC 5280 4.2.1.
    package enum Extension: Sendable {
        case basicConstraints, keyUsage, extendedKeyUsage, subjectAlternativeName

        fileprivate var identifier: Int32 {
            switch self {
            case .basicConstraints: NID_basic_constraints
            case .keyUsage: NID_key_usage
            case .extendedKeyUsage: NID_ext_key_usage
            case .subjectAlternativeName: NID_subject_alt_name
            }
        }
    }

    /// Makes a key and its certificate, valid from `start` to `end` in seconds since 1970, signed by `issuer`, or by itself.
    ///
    /// - Parameter extensions: as openssl(1)'s configuration writes their values; key identifiers are added.
    package static func issue(
        subject: String, by issuer: Pair? = nil, from start: Int64, to end: Int64,
        extensions: [(kind: Extension, value: String)]
    ) throws(CertificateError) -> Pair {
        guard let key = unsafe makeKey() else { throw CertificateError("make a P-256 key") }
        defer { unsafe EVP_PKEY_free(key) }
        guard let certificate = unsafe X509_new() else { throw CertificateError("no memory") }
        defer { unsafe X509_free(certificate) }
        let signer: (certificate: OpaquePointer, key: OpaquePointer)?
        if let issuer {
            guard let parsed = unsafe parse(issuer) else {
                throw CertificateError("read the authority's certificate and key")
            }
            unsafe signer = parsed
        } else {
            unsafe signer = nil
        }
        defer {
            if let signer = unsafe signer {
                unsafe X509_free(signer.certificate)
                unsafe EVP_PKEY_free(signer.key)
            }
        }
        let isFilled = unsafe fill(
            certificate, key, subject, issuer: signer?.certificate ?? certificate, start, end, extensions)
        guard isFilled, unsafe X509_sign(certificate, signer?.key ?? key, EVP_sha256()) > 0 else {
            throw CertificateError("make one for \(subject)")
        }
        let text = unsafe pem { unsafe PEM_write_bio_X509($0, certificate) == 1 }
        let keyText = unsafe pem { unsafe PEM_write_bio_PrivateKey($0, key, nil, nil, 0, nil, nil) == 1 }
        guard let text, let keyText else { throw CertificateError("write PEM") }
        return Pair(certificate: text, key: keyText)
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

    private static func fill(
        _ certificate: OpaquePointer, _ key: OpaquePointer, _ subject: String, issuer: OpaquePointer,
        _ start: Int64, _ end: Int64, _ extensions: [(kind: Extension, value: String)]
    ) -> Bool {
        // Version 3; 159 random bits of serial number (RFC 5280 4.1.2.2).
        guard unsafe X509_set_version(certificate, 2) == 1, let serial = unsafe BN_new() else { return false }
        defer { unsafe BN_free(serial) }
        let name = Array(subject.utf8)
        guard unsafe BN_rand(serial, 159, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) == 1,
            unsafe BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(certificate)) != nil,
            unsafe ASN1_TIME_set(X509_getm_notBefore(certificate), time_t(start)) != nil,
            unsafe ASN1_TIME_set(X509_getm_notAfter(certificate), time_t(end)) != nil,
            unsafe X509_set_pubkey(certificate, key) == 1,
            let subjectName = unsafe X509_get_subject_name(certificate),
            unsafe X509_NAME_add_entry_by_txt(
                subjectName, "CN", MBSTRING_UTF8, name, Int32(name.count), -1, 0) == 1,
            unsafe X509_set_issuer_name(certificate, X509_get_subject_name(issuer)) == 1
        else { return false }
        var context = unsafe X509V3_CTX()
        unsafe X509V3_set_ctx(&context, issuer, certificate, nil, nil, 0)
        // The key identifiers tell a verifier which of two authorities of one name has signed.
        let identifiers = [(NID_subject_key_identifier, "hash"), (NID_authority_key_identifier, "keyid")]
        for (identifier, value) in extensions.map({ ($0.kind.identifier, $0.value) }) + identifiers {
            guard let value = unsafe X509V3_EXT_conf_nid(nil, &context, identifier, value) else { return false }
            defer { unsafe X509_EXTENSION_free(value) }
            guard unsafe X509_add_ext(certificate, value, -1) == 1 else { return false }
        }
        return true
    }

    private static func parse(_ issuer: Pair) -> (certificate: OpaquePointer, key: OpaquePointer)? {
        guard let text = unsafe memory(issuer.certificate) else { return nil }
        defer { unsafe BIO_free(text) }
        guard let keyText = unsafe memory(issuer.key) else { return nil }
        defer { unsafe BIO_free(keyText) }
        guard let certificate = unsafe PEM_read_bio_X509(text, nil, nil, nil) else { return nil }
        guard let key = unsafe PEM_read_bio_PrivateKey(keyText, nil, nil, nil) else {
            unsafe X509_free(certificate)
            return nil
        }
        return unsafe (certificate, key)
    }

    private static func memory(_ text: String) -> OpaquePointer? {
        guard let memory = unsafe BIO_new(BIO_s_mem()) else { return nil }
        let bytes = Array(text.utf8)
        guard unsafe BIO_write(memory, bytes, Int32(bytes.count)) == Int32(bytes.count) else {
            unsafe BIO_free(memory)
            return nil
        }
        return unsafe memory
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
