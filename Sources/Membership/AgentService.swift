/// A port that an agent serves, by its own word: what SRV records (RFC 2782) lead to.
///
/// Written NAME/TRANSPORT/PORT, as `http/tcp/8080`.
package struct AgentService: Hashable, Sendable, CustomStringConvertible {
    /// How many an agent can tell of: with three relays they still fit its announcement.
    package static let limit = 8

    package let name: String
    /// `tcp`, `udp` or `sctp`.
    package let transport: String
    package let port: UInt16

    package var description: String { "\(name)/\(transport)/\(port)" }

    /// Nil unless the name is one of services (RFC 6335 5.1) in lower case, and the port above 0.
    package init?(name: String, transport: String, port: UInt16) {
        guard Self.isValid(Array(name.utf8)), ["tcp", "udp", "sctp"].contains(transport), port > 0 else { return nil }
        self.name = name
        self.transport = transport
        self.port = port
    }

    /// Nil unless it is written just so.
    package init?(_ text: String) {
        let parts = text.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false).map { String($0) }
        guard parts.count == 3, let name = parts[0], let transport = parts[1], let digits = parts[2],
            let port = UInt16(digits), String(port) == digits
        else { return nil }
        self.init(name: name, transport: transport, port: port)
    }

    /// 1 to 15 letters, digits and hyphens, with a letter, without hyphens at the ends or next to each other.
    private static func isValid(_ name: [UInt8]) -> Bool {
        let hyphen = UInt8(ascii: "-")
        guard (1...15).contains(name.count), name.first != hyphen, name.last != hyphen,
            name.allSatisfy({ AgentName.isAlphanumeric($0) || $0 == hyphen }),
            name.contains(where: { (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0) })
        else { return false }
        return !zip(name, name.dropFirst()).contains { $0 == hyphen && $1 == hyphen }
    }
}
