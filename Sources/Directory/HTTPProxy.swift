import Addressing
package import Membership

/// An HTTP proxy that passes connections on by CONNECT (RFC 9110 9.3.6), as `HTTPS_PROXY` names it: `http://[USER[:PASSWORD]@]HOST[:PORT]`.
package struct HTTPProxy: Equatable, Sendable {
    package let address: HubAddress
    /// The value of `Proxy-Authorization` (RFC 7617, Basic); nil without credentials. Not to be logged.
    package let authorization: String?

    /// Percent-encoded bytes in user and password are decoded. Nil for another scheme, or what is no such URL.
    package init?(url: String) {
        var rest = Substring(url)
        if let scheme = rest.range(of: "://") {
            guard rest[..<scheme.lowerBound].lowercased() == "http" else { return nil }
            rest = rest[scheme.upperBound...]
        }
        rest = rest.prefix { $0 != "/" && $0 != "?" && $0 != "#" }
        if let at = rest.lastIndex(of: "@") {
            let parts = rest[..<at].split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            guard let user = Self.decode(parts[0]), !user.contains(0x3a),
                let password = Self.decode(parts.count > 1 ? parts[1] : "")
            else { return nil }
            authorization = "Basic " + Base64.encode(user + [0x3a] + password)
            rest = rest[rest.index(after: at)...]
        } else {
            authorization = nil
        }
        let isBare = rest.last == "]" || !rest.contains(":")
        guard let address = HubAddress(isBare ? "\(rest):80" : String(rest)) else { return nil }
        self.address = address
    }

    private static func decode(_ text: Substring) -> [UInt8]? {
        var bytes: [UInt8] = []
        var rest = text.utf8[...]
        while let byte = rest.popFirst() {
            guard byte == 0x25 else {
                bytes.append(byte)
                continue
            }
            guard rest.count >= 2, let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16) else {
                return nil
            }
            bytes.append(value)
            rest = rest.dropFirst(2)
        }
        return bytes
    }
}

extension Substring {
    /// Where `text` is first.
    fileprivate func range(of text: String) -> Range<Index>? {
        var start = startIndex
        while start < endIndex {
            if self[start...].hasPrefix(text) { return start..<index(start, offsetBy: text.count) }
            start = index(after: start)
        }
        return nil
    }
}
