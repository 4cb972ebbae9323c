package import JSON

/// The objects of a manifest: YAML documents or JSON, as `kubectl apply -f` takes them.
package enum ManifestStream {
    /// Larger files are refused: the API server takes 3 MiB for an object.
    package static let sizeLimit = 16 << 20

    /// All documents that are not empty.
    package static func read(_ text: [UInt8]) throws(ManifestError) -> [JSONValue] {
        guard text.count <= sizeLimit else { throw ManifestError("more than \(sizeLimit >> 20) MiB") }
        guard String(validating: text, as: UTF8.self) != nil else { throw ManifestError("not UTF-8") }
        // JSON is nearly a subset of YAML, but its numbers keep their digits only when read as JSON.
        if text.first(where: { !" \t\r\n".utf8.contains($0) }) == UInt8(ascii: "{"),
            let value = try? JSONValue(parsing: text)
        {
            return [value]
        }
        return try YAMLReader.documents(text).filter { $0 != .null }
    }

    package static func yaml(_ documents: [JSONValue]) throws(ManifestError) -> String {
        String(decoding: try YAMLWriter.stream(documents), as: UTF8.self)
    }
}
