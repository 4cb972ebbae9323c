package import Addressing

/// The IPv4 addresses of a network that may be given out: `first` to `last`, both included.
package struct AddressRange: Hashable, Sendable {
    package let network: IPPrefix
    package let first: IPv4Address
    package let last: IPv4Address

    /// - Parameters:
    ///   - cidr: the network; without `start` and `end`, all of it but network and broadcast address (RFC 3021: a /31
    ///     has neither).
    package init(_ cidr: String, start: String? = nil, end: String? = nil) throws(CNIError) {
        guard cidr.utf8.contains(0x2f), let prefix = IPPrefix(cidr), case .v4(let base) = prefix.masked.address else {
            throw .invalidConfiguration("read ipv4Range \(cidr): not an IPv4 network in CIDR form")
        }
        guard prefix.length > 0 else { throw .invalidConfiguration("read ipv4Range \(cidr): is every address") }
        network = prefix.masked
        let top = base.value | UInt32(truncatingIfNeeded: UInt64(1) << UInt64(32 - prefix.length) - 1)
        let hasEdges = prefix.length < 31
        first =
            try Self.edge("rangeStart", start, in: network)
            ?? IPv4Address(value: hasEdges ? base.value + 1 : base.value)
        last = try Self.edge("rangeEnd", end, in: network) ?? IPv4Address(value: hasEdges ? top - 1 : top)
        guard first <= last else { throw .invalidConfiguration("read rangeStart \(first): above rangeEnd \(last)") }
    }

    package var count: Int { Int(last.value - first.value) + 1 }

    package func contains(_ address: IPv4Address) -> Bool { (first...last).contains(address) }

    /// Every address once, beginning after `previous` and going round.
    package func roundRobin(after previous: IPv4Address?) -> some Sequence<IPv4Address> {
        let count = UInt64(last.value - first.value) + 1
        let start =
            previous.map { contains($0) ? (UInt64($0.value - first.value) + 1) % count : 0 } ?? 0
        let base = first.value
        return (0..<count).lazy.map { IPv4Address(value: base + UInt32((start + $0) % count)) }
    }

    private static func edge(
        _ key: String, _ text: String?, in network: IPPrefix
    ) throws(CNIError) -> IPv4Address? {
        guard let text else { return nil }
        guard let address = IPv4Address(text), network.contains(.v4(address)) else {
            throw .invalidConfiguration("read \(key) \(text): not an IPv4 address of \(network)")
        }
        return address
    }
}

extension AddressRange: CustomStringConvertible {
    package var description: String { "\(first)-\(last)" }
}
