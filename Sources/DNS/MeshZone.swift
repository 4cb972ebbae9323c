package import Addressing

/// What a mesh's name can be asked for, and what the directory knows it by.
package enum MeshKey: Hashable, Sendable {
    /// An agent's name: `POD.NAMESPACE`, or another.
    case agent(String)
    /// `GROUP.NAMESPACE`.
    case group(String)
    case address(IPAddress)
}

/// Which names are the mesh's own.
///
/// ```
/// NAME.DOMAIN                        an agent, as POD.NAMESPACE.DOMAIN
/// GROUP.NAMESPACE.group.DOMAIN       the members of a group
/// _SERVICE._PROTOCOL.(either)        a port of it (RFC 2782)
/// …ip6.arpa, …in-addr.arpa           inside the mesh's ranges
/// ```
package struct MeshZone: Equatable, Sendable {
    package enum Place: Equatable, Sendable {
        /// None of ours: somebody else's to answer.
        case outside
        /// Within a zone of ours, and nothing can be there.
        case nowhere(zone: DomainName)
        /// The zone itself, or a name between it and others: no records.
        case empty(zone: DomainName)
        case known(MeshKey, Service?, zone: DomainName)
    }

    /// RFC 6335 names, without underscores.
    package struct Service: Hashable, Sendable {
        package let name: String
        package let transport: String

        package init(name: String, transport: String) {
            self.name = name
            self.transport = transport
        }
    }

    package let domain: DomainName
    /// The mesh's virtual addresses; empty before they are known.
    package var ranges: [IPPrefix]

    package static let groupLabel = Array("group".utf8)
    private static let agentNameLimit = 63

    package init(domain: DomainName, ranges: [IPPrefix] = []) {
        self.domain = domain
        self.ranges = ranges
    }

    /// The domain of a mesh where nothing else is said: under `.internal`, which nobody else will ever be given.
    package static func defaultDomain(ofMesh name: String) -> String { "\(name).warren.internal" }

    package func place(of name: DomainName) -> Place {
        if var labels = name.labels(below: domain)?[...] {
            guard !labels.isEmpty else { return .empty(zone: domain) }
            var service: Service?
            if labels.first?.first == Self.underscore {
                guard labels.count > 2, let name = Self.serviceName(labels[labels.startIndex]),
                    let transport = Self.serviceName(labels[labels.startIndex + 1])
                else { return .nowhere(zone: domain) }
                service = Service(name: name, transport: transport)
                labels = labels.dropFirst(2)
            }
            guard let key = Self.key(labels) else { return .nowhere(zone: domain) }
            return .known(key, service, zone: domain)
        }
        guard !ranges.isEmpty, let prefix = ReverseName.prefix(of: name),
            let range = ranges.first(where: { $0.contains(prefix) })
        else { return .outside }
        let zone = ReverseName.zone(of: range)
        return prefix.isHost ? .known(.address(prefix.address), nil, zone: zone) : .empty(zone: zone)
    }

    private static func key(_ labels: ArraySlice<ArraySlice<UInt8>>) -> MeshKey? {
        guard labels.allSatisfy(isHostLabel) else { return nil }
        let isGroup = labels.count == 3 && labels.last.map { $0.elementsEqual(groupLabel) } ?? false
        let bytes = Array((isGroup ? labels.dropLast() : labels).joined(separator: [UInt8(ascii: ".")]))
        guard bytes.count <= agentNameLimit else { return nil }
        let name = String(decoding: bytes, as: UTF8.self)
        return isGroup ? .group(name) : .agent(name)
    }

    private static let underscore = UInt8(ascii: "_")

    private static func serviceName(_ label: ArraySlice<UInt8>) -> String? {
        guard label.first == underscore, label.count > 1, isHostLabel(label.dropFirst()) else { return nil }
        return String(decoding: label.dropFirst(), as: UTF8.self)
    }

    /// Letters in lower case, digits and hyphens inside (RFC 1123 2.1).
    private static func isHostLabel(_ label: ArraySlice<UInt8>) -> Bool {
        guard let first = label.first, let last = label.last, first != UInt8(ascii: "-"), last != UInt8(ascii: "-")
        else { return false }
        return label.allSatisfy { byte in
            (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
                || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || byte == UInt8(ascii: "-")
        }
    }
}
