package import JSON

/// A JSON Patch (RFC 6902) of `add` operations, the only ones an injection needs.
package struct JSONPatch: Equatable, Sendable {
    package struct Addition: Equatable, Sendable {
        /// The reference tokens of a JSON Pointer (RFC 6901), not escaped.
        package let path: [String]
        package let value: JSONValue
    }

    package private(set) var additions: [Addition] = []

    package mutating func add(_ path: [String], _ value: JSONValue) {
        additions.append(Addition(path: path, value: value))
    }

    /// The document that the API server wants.
    package var document: JSONValue {
        .array(
            additions.map { addition in
                ["op": "add", "path": .string(Self.pointer(addition.path)), "value": addition.value]
            })
    }

    /// RFC 6901 3: `~` is written `~0`, `/` is written `~1`.
    static func pointer(_ path: [String]) -> String {
        var text = ""
        for token in path {
            text += "/"
            for character in token {
                switch character {
                case "~": text += "~0"
                case "/": text += "~1"
                default: text.append(character)
                }
            }
        }
        return text
    }

    /// Nil when a path leads nowhere.
    package func applied(to document: JSONValue) -> JSONValue? {
        var result = document
        for addition in additions {
            guard let next = Self.adding(addition.value, at: addition.path[...], to: result) else { return nil }
            result = next
        }
        return result
    }

    private static func adding(_ value: JSONValue, at path: ArraySlice<String>, to target: JSONValue) -> JSONValue? {
        guard let token = path.first else { return value }
        let rest = path.dropFirst()
        switch target {
        case .object(var members):
            if let index = members.firstIndex(where: { $0.name == token }) {
                guard let new = adding(value, at: rest, to: members[index].value) else { return nil }
                members[index].value = new
            } else {
                guard rest.isEmpty else { return nil }
                members.append(JSONValue.Member(token, value))
            }
            return .object(members)
        case .array(var elements):
            guard let index = token == "-" ? elements.count : Int(token), (0...elements.count).contains(index) else {
                return nil
            }
            if rest.isEmpty {
                elements.insert(value, at: index)
            } else {
                guard index < elements.count, let new = adding(value, at: rest, to: elements[index]) else { return nil }
                elements[index] = new
            }
            return .array(elements)
        default: return nil
        }
    }
}
