import Addressing

/// A URL on the gateway's own address: `http://ADDRESS[:PORT]/PATH` with the address in digits, and no other.
///
/// What a gateway says is fetched from nowhere else, so that no answer can make us connect to another host.
struct GatewayURL: Equatable, Sendable {
    static let lengthLimit = 512

    let endpoint: Endpoint
    /// From the first slash on, with the query.
    let path: String

    /// Nil unless it is on `gateway`.
    init?(_ text: String, on gateway: IPv4Address) {
        guard text.utf8.count <= Self.lengthLimit, text.utf8.allSatisfy({ (0x21...0x7e).contains($0) }),
            text.lowercased().hasPrefix("http://")
        else { return nil }
        let rest = text.dropFirst(7)
        let host = rest.prefix { $0 != "/" && $0 != "?" && $0 != "#" }
        let parts = host.split(separator: ":", omittingEmptySubsequences: false)
        guard let first = parts.first, IPv4Address(String(first)) == gateway, parts.count <= 2 else { return nil }
        var port: UInt16 = 80
        if parts.count == 2 {
            guard parts[1].utf8.allSatisfy({ (0x30...0x39).contains($0) }), let number = UInt16(parts[1]), number > 0
            else { return nil }
            port = number
        }
        endpoint = Endpoint(.v4(gateway), port: port)
        let tail = rest.dropFirst(host.count).prefix { $0 != "#" }
        path = tail.hasPrefix("/") ? String(tail) : "/" + tail
    }

    private init(endpoint: Endpoint, path: String) {
        self.endpoint = endpoint
        self.path = path
    }

    /// What a reference in the document at this URL means; nil for one that leaves the gateway.
    func resolve(_ reference: String) -> GatewayURL? {
        guard reference.utf8.count <= Self.lengthLimit, reference.utf8.allSatisfy({ (0x21...0x7e).contains($0) }),
            case .v4(let gateway) = endpoint.address, !reference.hasPrefix("//")
        else { return nil }
        // A colon in its first segment ends a scheme (RFC 3986 section 4.2).
        let first = reference.prefix { $0 != "/" && $0 != "?" && $0 != "#" }
        if first.contains(":") { return GatewayURL(reference, on: gateway) }
        if reference.hasPrefix("/") { return GatewayURL(endpoint: endpoint, path: reference) }
        let folder = path.prefix { $0 != "?" }
        let base = folder.lastIndex(of: "/").map { folder[...$0] } ?? "/"
        return GatewayURL(endpoint: endpoint, path: base + reference)
    }
}
