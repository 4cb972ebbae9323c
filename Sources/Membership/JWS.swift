import Addressing
import Sodium

/// A JSON Web Signature in compact form with Ed25519 (RFC 7515, RFC 8037): `HEADER.PAYLOAD.SIGNATURE` in base64url.
///
/// Only `alg` EdDSA, and the `typ` that the caller asks for; `crit` is refused, as no extension is understood; keys or
/// URLs of keys in a header are never used.
struct JWS {
    /// The most that is looked at; what we make is at most `datagramLimit`.
    static let sizeLimit = 2048
    /// So that a credential or an announcement fits one datagram beside headers of ours.
    static let datagramLimit = 1100

    let header: JSONValue
    let payload: JSONValue
    private let signed: [UInt8]
    private let signature: [UInt8]

    /// Parses without verifying.
    /// - Parameter what: names the text in errors.
    init(_ text: String, type: String, what: String) throws(MembershipError) {
        guard text.utf8.count <= Self.sizeLimit else {
            throw .oversized(what: what, limit: Self.sizeLimit, got: text.utf8.count)
        }
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 3, let headerText = Base64.decodeURL(parts[0]),
            let payloadText = Base64.decodeURL(parts[1]),
            let signature = Base64.decodeURL(parts[2]), signature.count == Ed25519.signatureSize,
            let header = JSONValue(parsing: headerText), let payload = JSONValue(parsing: payloadText),
            header.isObject, payload.isObject
        else { throw .malformed(what) }
        guard header["alg"]?.string == "EdDSA" else { throw .unsupportedHeader("alg") }
        guard header["typ"]?.string == type else { throw .unsupportedHeader("typ") }
        guard header["crit"] == nil else { throw .unsupportedHeader("crit") }
        self.header = header
        self.payload = payload
        self.signature = signature
        signed = Array("\(parts[0]).\(parts[1])".utf8)
    }

    func isSigned(by key: Ed25519.PublicKey) -> Bool { Ed25519.verify(signature, of: signed, by: key) }

    /// The text over `payload`, which is within `datagramLimit`.
    static func sign(
        type: String, keyID: String?, payload: JSONValue, what: String, with sign: ([UInt8]) -> [UInt8]
    ) throws(MembershipError) -> String {
        var header: [JSONValue.Member] = [.init("alg", .string("EdDSA")), .init("typ", .string(type))]
        if let keyID { header.append(.init("kid", .string(keyID))) }
        let signed = Base64.encodeURL(JSONValue.object(header).text) + "." + Base64.encodeURL(payload.text)
        let text = signed + "." + Base64.encodeURL(sign(Array(signed.utf8)))
        guard text.utf8.count <= datagramLimit else {
            throw .oversized(what: what, limit: datagramLimit, got: text.utf8.count)
        }
        return text
    }
}

extension JSONValue {
    /// Seconds since 1970 (RFC 7519 NumericDate, whole): eleven digits at most, so that sizes are bounded.
    package var numericDate: Int64? {
        guard let number, number < 100_000_000_000 else { return nil }
        return Int64(number)
    }

    package static func numericDate(_ seconds: Int64) -> JSONValue {
        .number(UInt64(clamping: min(max(seconds, 0), 99_999_999_999)))
    }
}
