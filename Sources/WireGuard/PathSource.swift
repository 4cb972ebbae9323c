package import Addressing

/// Who a handshake message seems to come from, as cookies and rate limits see it: an address and port, or an agent id.
///
/// The socket or relay it came through does not matter. 24 bytes without padding, so that it can be hashed as it lies.
package struct PathSource: Hashable, Sendable {
    private let high: UInt64
    private let low: UInt64
    /// The kind in the top byte (4, 6 or 1 for an agent), the port in the low two.
    private let tag: UInt64

    private init(high: UInt64, low: UInt64, tag: UInt64) {
        self.high = high
        self.low = low
        self.tag = tag
    }

    package init(_ path: Path) {
        switch path {
        case .direct(_, let endpoint):
            switch endpoint.address {
            case .v4(let address): self.init(high: 0, low: UInt64(address.value), tag: 4 << 56 | UInt64(endpoint.port))
            case .v6(let address): self.init(high: address.high, low: address.low, tag: 6 << 56 | UInt64(endpoint.port))
            }
        case .relayed(_, let agent): self.init(high: agent.high, low: agent.low, tag: 1 << 56)
        }
    }

    /// The source whose rate is limited: any port of an IPv4 address, any address of an IPv6 /64 (all one host's).
    package var limited: PathSource {
        switch tag >> 56 {
        case 6: PathSource(high: high, low: 0, tag: 6 << 56)
        case 4: PathSource(high: high, low: low, tag: 4 << 56)
        default: self
        }
    }

    /// Lends the 24 bytes.
    func withUnsafeBytes<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        unsafe Swift.withUnsafeBytes(of: (high, low, tag)) { unsafe body($0) }
    }
}
