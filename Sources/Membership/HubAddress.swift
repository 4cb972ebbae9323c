/// Where a hub is reached: a DNS name or IP address, and a TCP port. Resolved anew at each connection.
package struct HubAddress: Hashable, Sendable {
    /// A DNS name, or an IP address without brackets.
    package let host: String
    package let port: UInt16

    /// Nil for a host with other characters than names and addresses have, an empty one, or port 0.
    package init?(host: String, port: UInt16) {
        let bytes = Array(host.utf8)
        let allowed = bytes.allSatisfy { byte in
            let lower = (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) ? byte | 0x20 : byte
            return AgentName.isAlphanumeric(lower)
                || [UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: ":")].contains(byte)
        }
        guard (1...253).contains(bytes.count), allowed, bytes.first != UInt8(ascii: "-"), port > 0 else { return nil }
        self.host = host
        self.port = port
    }
}

extension HubAddress: CustomStringConvertible, LosslessStringConvertible {
    /// `hub.example:7443`, `192.0.2.1:7443` or `[2001:db8::1]:7443`.
    package var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }

    package init?(_ text: String) {
        guard let colon = text.lastIndex(of: ":") else { return nil }
        let digits = text[text.index(after: colon)...]
        guard !digits.isEmpty, digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let port = UInt16(digits) else {
            return nil
        }
        var host = text[..<colon]
        let isBracketed = host.hasPrefix("[") && host.hasSuffix("]")
        if isBracketed { host = host.dropFirst().dropLast() }
        guard host.contains(":") == isBracketed else { return nil }
        self.init(host: String(host), port: port)
    }
}
