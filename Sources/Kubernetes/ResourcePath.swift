/// Where objects are in the API: `/api/v1/namespaces/NS/secrets/NAME`, `/apis/GROUP/VERSION/PLURAL`.
package struct ResourcePath: Hashable, Sendable, CustomStringConvertible {
    /// Without a query.
    package let description: String

    /// - Parameters:
    ///   - group: empty for the core's.
    ///   - namespace: nil for resources of the cluster.
    ///   - name: nil for all of them.
    ///   - subresource: as `eviction`, of that one.
    package init(
        group: String = "", version: String = "v1", namespace: String? = nil, _ plural: String, _ name: String? = nil,
        subresource: String? = nil
    ) {
        var path = group.isEmpty ? "/api/\(version)" : "/apis/\(group)/\(version)"
        if let namespace { path += "/namespaces/\(Self.encoded(namespace))" }
        path += "/\(plural)"
        if let name { path += "/\(Self.encoded(name))" }
        if let subresource { path += "/\(subresource)" }
        description = path
    }

    func query(_ items: [(String, String)]) -> String {
        items.isEmpty
            ? description
            : description + "?" + items.map { "\($0.0)=\(Self.encoded($0.1))" }.joined(separator: "&")
    }

    /// Percent-encoded but for the unreserved characters (RFC 3986 2.3).
    static func encoded(_ text: String) -> String {
        let digits = Array("0123456789ABCDEF")
        var result = ""
        for byte in text.utf8 {
            switch byte {
            case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
                UInt8(ascii: "~"):
                result.unicodeScalars.append(Unicode.Scalar(byte))
            default:
                result.append("%")
                result.append(digits[Int(byte >> 4)])
                result.append(digits[Int(byte & 15)])
            }
        }
        return result
    }
}
