/// What is wrong with a manifest, and in which line (from 1; nil where it has none).
package struct ManifestError: Error, Equatable, Sendable, CustomStringConvertible {
    package let reason: String
    package let line: Int?

    package init(_ reason: String, line: Int? = nil) {
        self.reason = reason
        self.line = line
    }

    package var description: String { (line.map { "line \($0): " } ?? "") + reason }
}
