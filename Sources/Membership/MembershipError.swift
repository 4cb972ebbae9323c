/// Why a token, credential, announcement or record is refused.
package enum MembershipError: Error, Equatable, Sendable {
    /// The text is not what it should be: damaged, truncated or not canonical.
    case malformed(String)
    case oversized(what: String, limit: Int, got: Int)
    /// The header asks for an algorithm, type or extension that is not ours.
    case unsupportedHeader(String)
    case invalidSignature(String)
    case expired(String)
    case notYetValid(String)
    /// The credential is of another mesh.
    case foreignMesh(String)
    /// The credential names another authority key than the pinned one.
    case unknownAuthorityKey
    /// The announcement is another agent's.
    case foreignAnnouncement
    /// A record with this or a higher sequence number was accepted before.
    case staleSequence(known: UInt64, got: UInt64)
    case invalidName(String)
    case noValidKey
}

extension MembershipError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .malformed(let what): "\(what): malformed"
        case .oversized(let what, let limit, let got): "\(what): \(got) bytes, at most \(limit) are allowed"
        case .unsupportedHeader(let what): "header \(what): not supported"
        case .invalidSignature(let what): "\(what): the signature does not verify"
        case .expired(let what): "\(what): expired"
        case .notYetValid(let what): "\(what): not valid yet (check this machine's clock)"
        case .foreignMesh(let mesh): "credential: of another mesh (\(mesh))"
        case .unknownAuthorityKey: "credential: signed by another authority key than the join token pins"
        case .foreignAnnouncement: "announcement: of another agent than the credential"
        case .staleSequence(let known, let got): "announcement: sequence \(got) is not above \(known)"
        case .invalidName(let name):
            "name \"\(name)\": use 1 to 63 lower-case letters, digits and '-', with a letter or digit at both ends; "
                + "an agent's may have more such parts after dots, 127 characters in all"
        case .noValidKey: "announcement: no WireGuard key is valid now"
        }
    }
}
