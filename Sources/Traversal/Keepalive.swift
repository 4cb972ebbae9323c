/// What one agent tells the other to keep their path open, in turn, and to learn how rarely that is enough.
///
/// ```
/// kind (1) · known (2, seconds) · wanted (2, seconds)
/// ```
package struct Keepalive: Equatable, Sendable {
    package enum Kind: UInt8, Sendable {
        /// Not answered: the receiver sends the next.
        case plain = 0
        /// Answered at once.
        case asks = 1
        case answers = 2
    }

    package var kind: Kind
    /// How long the sender's NAT keeps a binding, as far as it is known; 0 when it is not.
    package var known: UInt16
    /// The silence that the next keepalive to the sender is to come after; 0 for what is known to be safe.
    package var wanted: UInt16

    package init(_ kind: Kind, known: UInt16 = 0, wanted: UInt16 = 0) {
        self.kind = kind
        self.known = known
        self.wanted = wanted
    }

    static let wireSize = 5

    func encode(into bytes: inout [UInt8]) {
        bytes.append(kind.rawValue)
        bytes.append(bigEndian: known)
        bytes.append(bigEndian: wanted)
    }

    /// Nil for an unknown kind, or fewer than five bytes.
    init?(decoding bytes: ArraySlice<UInt8>) {
        guard bytes.count >= Self.wireSize, let kind = Kind(rawValue: bytes[bytes.startIndex]) else { return nil }
        self.init(kind, known: bytes.bigEndian16(at: 1), wanted: bytes.bigEndian16(at: 3))
    }
}
