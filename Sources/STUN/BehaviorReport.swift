package import Addressing

/// Which mapping a NAT uses for packets of one socket to several destinations (RFC 4787 section 4.1).
package enum MappingBehavior: String, Hashable, Sendable, CaseIterable {
    case endpointIndependent = "endpoint-independent"
    case addressDependent = "address-dependent"
    case addressAndPortDependent = "address and port-dependent"
    /// One of the last two: to tell which, a server is needed that has two ports.
    case destinationDependent = "address or address and port-dependent"
}

/// Which packets from outside a NAT or firewall lets through to a mapping (RFC 4787 section 5).
package enum FilteringBehavior: String, Hashable, Sendable, CaseIterable {
    case endpointIndependent = "endpoint-independent"
    case addressDependent = "address-dependent"
    case addressAndPortDependent = "address and port-dependent"
}

/// Whether a NAT with several addresses uses one for all mappings of a host (RFC 4787 section 4.1).
package enum AddressPooling: String, Hashable, Sendable {
    case paired, arbitrary
}

/// What a NAT or firewall in front of us does, as STUN servers saw it (RFC 5780). Nil is what was not found out.
package struct BehaviorReport: Hashable, Sendable {
    package var mapping: MappingBehavior?
    package var filtering: FilteringBehavior?
    package var allocation: PortAllocation?
    package var pooling: AddressPooling?
    /// Whether the address or port outside is another than inside: false where there is no NAT, but perhaps a firewall.
    package var isTranslated: Bool?
    /// Our endpoints outside, as servers saw the first socket, in the order of the questions; each once.
    package var mapped: [Endpoint]
    /// One for each mapping that a NAT with the most dependent mapping would have made, in the order of sending.
    package var samples: [PortSample]
    /// Whether no server answered at all.
    package var isBlocked: Bool

    package init(
        mapping: MappingBehavior? = nil, filtering: FilteringBehavior? = nil, allocation: PortAllocation? = nil,
        pooling: AddressPooling? = nil, isTranslated: Bool? = nil, mapped: [Endpoint] = [],
        samples: [PortSample] = [], isBlocked: Bool = false
    ) {
        self.mapping = mapping
        self.filtering = filtering
        self.allocation = allocation
        self.pooling = pooling
        self.isTranslated = isTranslated
        self.mapped = mapped
        self.samples = samples
        self.isBlocked = isBlocked
    }
}

extension BehaviorReport: CustomStringConvertible {
    /// One line in the words of RFC 4787.
    package var description: String {
        if isBlocked { return "UDP is blocked: no STUN server answered" }
        let filter = filtering.map { "\($0.rawValue) filtering" } ?? "filtering not known"
        switch isTranslated {
        case nil: return "not known"
        case false?: return "no NAT, \(filter)"
        case true?:
            var parts = [mapping.map { "\($0.rawValue) mapping" } ?? "mapping not known", filter]
            if let allocation { parts.append("\(allocation)") }
            if pooling == .arbitrary { parts.append("arbitrary address pooling") }
            return parts.joined(separator: ", ")
        }
    }
}
