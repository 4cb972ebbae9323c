package import Addressing

/// Which servers are asked, as it is configured.
package enum ServerList {
    package static let port: UInt16 = 53
    /// As resolv.conf(5) has it.
    package static let limit = 3

    /// `ADDRESS`, `ADDRESS:PORT` or `[ADDRESS]:PORT`; nil for other text.
    package static func endpoint(_ text: String) -> Endpoint? {
        if let address = IPAddress(text) { return Endpoint(address, port: port) }
        return Endpoint(text).flatMap { $0.port == 0 ? nil : $0 }
    }

    /// The `nameserver` lines of a resolv.conf(5), without `ours` and what can't be asked.
    package static func servers(inResolvConf text: String, besides ours: [IPAddress]) -> [Endpoint] {
        var servers: [Endpoint] = []
        for line in text.utf8.split(separator: UInt8(ascii: "\n")) {
            let words = line.split { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") }
            guard words.count >= 2, words[0].elementsEqual("nameserver".utf8),
                let address = IPAddress(String(decoding: words[1], as: UTF8.self)), !ours.contains(address)
            else { continue }
            servers.append(Endpoint(address, port: port))
        }
        return Array(servers.prefix(limit))
    }
}
