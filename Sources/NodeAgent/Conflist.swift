/// A CNI network configuration list, to which our entry is added and from which it is taken. Everything else in the text
/// stays as it is, byte for byte.
package struct Conflist: Sendable {
    /// What our entry has as its `type`.
    package static let entryType = "warren-cni"

    /// Why a file is no configuration that a runtime could use.
    package struct Fault: Error, Hashable, Sendable, CustomStringConvertible {
        package let description: String
    }

    private let text: JSONText
    private let plugins: [JSONText.Node]
    private let list: JSONText.Node
    package let name: String
    /// Each plugin's `type`, in the chain's order.
    package let types: [String]

    package init(parsing bytes: [UInt8]) throws(Fault) {
        guard let text = JSONText(bytes), text.root.isObject else { throw Fault(description: "not a JSON object") }
        guard let name = text.root["name"]?.text, !name.isEmpty else { throw Fault(description: "has no name") }
        guard let list = text.root["plugins"], let plugins = list.elements, !plugins.isEmpty else {
            throw Fault(description: "has no plugins")
        }
        var types: [String] = []
        for plugin in plugins {
            guard let type = plugin["type"]?.text, !type.isEmpty else {
                throw Fault(description: "has a plugin without a type")
            }
            types.append(type)
        }
        self.text = text
        self.list = list
        self.plugins = plugins
        self.name = name
        self.types = types
    }

    package var bytes: [UInt8] { text.bytes }

    /// There is a plugin besides ours, so that ours is chained to something.
    package var hasPrimary: Bool { types.contains { $0 != Self.entryType } }

    package var hasEntry: Bool { types.contains(Self.entryType) }

    /// The text with `entry` (a JSON object) as our only entry; nil when it is like that. An entry that is first, where a
    /// primary plugin belongs, or a second one goes; one that differs is replaced where it stands; a new one comes last.
    package func keeping(_ entry: String) -> [UInt8]? {
        let ours = types.indices.filter { types[$0] == Self.entryType }
        if ours.count == 1, let index = ours.first, index > 0 {
            let wanted = JSONText(Array(entry.utf8)).map { $0.canonical($0.root) }
            if text.canonical(plugins[index]) == wanted { return nil }
            return replacing(plugins[index].range, with: entry)
        }
        guard let bare = ours.isEmpty ? bytes : withoutEntry(), let base = try? Conflist(parsing: bare),
            let first = base.plugins.first, let last = base.plugins.last
        else { return nil }
        // As the list is laid out already: what stands before its first plugin.
        let blanks = String(
            decoding: base.bytes[(base.list.range.lowerBound + 1)..<first.range.lowerBound], as: UTF8.self)
        let end = last.range.upperBound
        return base.replacing(end..<end, with: ",\(blanks.isEmpty ? " " : blanks)\(entry)")
    }

    /// The text without any entry of ours; nil when there is none, or nothing but ours.
    package func withoutEntry() -> [UInt8]? {
        guard hasPrimary, let index = types.firstIndex(of: Self.entryType) else { return nil }
        let range =
            index > 0
            ? plugins[index - 1].range.upperBound..<plugins[index].range.upperBound
            : plugins[index].range.lowerBound..<plugins[index + 1].range.lowerBound
        let rest = replacing(range, with: "")
        return (try? Conflist(parsing: rest))?.withoutEntry() ?? rest
    }

    private func replacing(_ range: Range<Int>, with replacement: String) -> [UInt8] {
        Array(bytes[..<range.lowerBound]) + Array(replacement.utf8) + Array(bytes[range.upperBound...])
    }
}

extension Conflist {
    /// The text of a list of the one plugin that `conf` configures, which stands in it unchanged (ConfListFromConf of
    /// libcni).
    package static func wrapping(conf bytes: [UInt8]) throws(Fault) -> [UInt8] {
        guard let text = JSONText(bytes), text.root.isObject else { throw Fault(description: "not a JSON object") }
        guard let type = text.root["type"]?.text, !type.isEmpty else { throw Fault(description: "has no type") }
        guard let name = text.root["name"]?.text, !name.isEmpty else { throw Fault(description: "has no name") }
        let version = text.root["cniVersion"]?.text.map { "  \"cniVersion\": \(JSONText.quoted($0)),\n" } ?? ""
        let conf = String(decoding: text.slice(text.root), as: UTF8.self)
        return Array("{\n\(version)  \"name\": \(JSONText.quoted(name)),\n  \"plugins\": [\n    \(conf)\n  ]\n}\n".utf8)
    }

    /// The one plugin's own text, when there is just one.
    package var onlyPlugin: [UInt8]? { plugins.count == 1 ? text.slice(plugins[0]) : nil }
}
