/// The type of an attribute (RFC 8489 section 18.3, RFC 5780 section 7, RFC 3489 section 11.2). Keeps unknown values.
package struct AttributeType: RawRepresentable, Hashable, Sendable {
    package let rawValue: UInt16
    package init(rawValue: UInt16) { self.rawValue = rawValue }

    package static let mappedAddress = Self(rawValue: 0x0001)
    package static let changeRequest = Self(rawValue: 0x0003)
    /// RFC 3489: where a classic answer came from, and the server's other address and port.
    package static let sourceAddress = Self(rawValue: 0x0004)
    package static let changedAddress = Self(rawValue: 0x0005)
    package static let username = Self(rawValue: 0x0006)
    package static let messageIntegrity = Self(rawValue: 0x0008)
    package static let errorCode = Self(rawValue: 0x0009)
    package static let unknownAttributes = Self(rawValue: 0x000a)
    package static let realm = Self(rawValue: 0x0014)
    package static let nonce = Self(rawValue: 0x0015)
    package static let messageIntegritySHA256 = Self(rawValue: 0x001c)
    package static let passwordAlgorithm = Self(rawValue: 0x001d)
    package static let userhash = Self(rawValue: 0x001e)
    package static let xorMappedAddress = Self(rawValue: 0x0020)
    package static let padding = Self(rawValue: 0x0026)
    package static let responsePort = Self(rawValue: 0x0027)
    package static let software = Self(rawValue: 0x8022)
    package static let fingerprint = Self(rawValue: 0x8028)
    package static let responseOrigin = Self(rawValue: 0x802b)
    package static let otherAddress = Self(rawValue: 0x802c)

    /// Whether a receiver that does not know the type must refuse the message (0x0000…0x7FFF).
    package var isComprehensionRequired: Bool { rawValue < 0x8000 }

    /// Whether `Message` knows the type. The credentials of RFC 8489 section 9 are known but not used: binding needs
    /// none, and a server without them ignores what a request brings.
    var isKnown: Bool {
        switch self {
        case .mappedAddress, .changeRequest, .username, .messageIntegrity, .errorCode, .unknownAttributes, .realm,
            .nonce, .messageIntegritySHA256, .passwordAlgorithm, .userhash, .xorMappedAddress, .padding, .responsePort,
            .sourceAddress, .changedAddress:
            true
        default: !isComprehensionRequired
        }
    }
}
