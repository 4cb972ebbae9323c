package import Addressing

/// What a relay knows a sender by and answers it through: a UDP endpoint, or one stream (a TLS connection).
///
/// A stream has a number that the relay gave it when it was opened and gives to no other; its endpoint is where the
/// connection comes from, which behind an ingress is the ingress.
package struct RelayLink: Hashable, Sendable {
    package let endpoint: Endpoint
    /// 0 for datagrams.
    package let stream: UInt64

    /// Datagrams from and to `endpoint`.
    package init(_ endpoint: Endpoint) {
        self.endpoint = endpoint
        stream = 0
    }

    /// - Parameter stream: above 0, and of no stream before.
    package init(stream: UInt64, from endpoint: Endpoint) {
        precondition(stream > 0)
        self.endpoint = endpoint
        self.stream = stream
    }

    package var isStream: Bool { stream != 0 }

    /// What an address cookie covers.
    var bytes: [UInt8] {
        EndpointBytes.encode(endpoint) + (0..<8).map { UInt8(truncatingIfNeeded: stream >> (56 - 8 * UInt64($0))) }
    }
}
