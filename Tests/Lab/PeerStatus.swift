import Foundation

/// One element of `warren peers --json`.
package struct PeerStatus: Decodable, Sendable {
    package let name: String?
    package let id: String
    package let addresses: [String]
    /// `relay`, `direct`, or what precedes them.
    package let path: String
    package let endpoint: String?
    package let rttMs: Double?
    package let directAfterMs: Double?
    package let rxBytes: Int
    package let txBytes: Int
    package let handshakeAgeS: Double?

    package var isDirect: Bool { path == "direct" }
}

/// `warren status --json`, as far as scenarios read it.
package struct SidecarStatus: Decodable, Sendable {
    package let name: String
    package let id: String
    package let addresses: [String]
    package let mappedAddress: String?
    package let ready: Bool
}
