import NIOSSL

/// Who issued a certificate, and for whom, in a form that is fit for a terminal.
///
/// Reads the first common names in the certificate's DER, of which the issuer's comes before the subject's (RFC 5280
/// section 4.1). What is read is shown, and decides nothing.
struct CertificateName: Equatable {
    let issuer: String
    let subject: String

    init(_ certificate: NIOSSLCertificate) {
        let names = (try? certificate.toDERBytes()).map(Self.commonNames) ?? []
        issuer = names.first ?? "somebody unnamed"
        subject = names.count > 1 ? names[1] : names.first ?? "somebody unnamed"
    }

    /// The values of all attributes of type 2.5.4.3, in order: at most eight, each at most 64 characters.
    static func commonNames(in der: [UInt8]) -> [String] {
        let type: [UInt8] = [0x06, 0x03, 0x55, 0x04, 0x03]
        var names: [String] = []
        var index = 0
        while index + type.count + 2 <= der.count, names.count < 8 {
            guard der[index..<index + type.count].elementsEqual(type) else {
                index += 1
                continue
            }
            index += type.count
            let length = Int(der[index + 1])
            // UTF8String, PrintableString, T61String and IA5String; a longer one than 127 has another length form.
            guard [0x0c, 0x13, 0x14, 0x16].contains(der[index]), length < 128, index + 2 + length <= der.count else {
                continue
            }
            names.append(printable(String(decoding: der[index + 2..<index + 2 + length], as: UTF8.self)))
            index += 2 + length
        }
        return names
    }

    /// Without what could move a cursor or reorder text.
    static func printable(_ text: String) -> String {
        String(
            text.unicodeScalars.filter { scalar in
                scalar.properties.generalCategory.isPrintable && scalar.value < 0xe000
            }.prefix(64).map(Character.init))
    }
}

extension Unicode.GeneralCategory {
    fileprivate var isPrintable: Bool {
        switch self {
        case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator: false
        default: true
        }
    }
}
