import Addressing
import Glibc
package import Membership

/// An HTTP proxy that connections go through by CONNECT: `http://[USER:PASSWORD@]HOST:PORT`.
package struct ProxyAddress: Equatable, Sendable {
    package let address: HubAddress
    /// `Proxy-Authorization`'s value, a secret.
    let authorization: String?

    /// Nil for another scheme or what is no URL. `%XX` in user and password are decoded.
    package init?(_ text: String) {
        var rest = Substring(text)
        if rest.lowercased().hasPrefix("http://") { rest = rest.dropFirst(7) }
        rest = rest.prefix { $0 != "/" }
        var authorization: String?
        if let at = rest.lastIndex(of: "@") {
            guard let bytes = Self.decode(rest[..<at]) else { return nil }
            authorization = "Basic " + Base64.encode(bytes)
            rest = rest[rest.index(after: at)...]
        }
        let hasPort = rest.last != "]" && rest.contains(":")
        guard let address = HubAddress(hasPort ? String(rest) : "\(rest):80") else { return nil }
        self.address = address
        self.authorization = authorization
    }

    /// The text of `HTTPS_PROXY` or `https_proxy` in this process's environment; nil when there is none.
    package static var inEnvironment: String? {
        for name in ["HTTPS_PROXY", "https_proxy"] {
            if let value = unsafe getenv(name), unsafe value.pointee != 0 { return unsafe String(cString: value) }
        }
        return nil
    }

    private static func decode(_ text: Substring) -> [UInt8]? {
        var bytes: [UInt8] = []
        var rest = text.utf8
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16), rest.count >= 2 else {
                return nil
            }
            bytes.append(value)
            rest = rest.dropFirst(2)
        }
        return bytes
    }
}
