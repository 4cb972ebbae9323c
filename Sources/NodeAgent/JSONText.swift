import JSON

/// JSON text (RFC 8259) taken apart but not taken over: each value knows where in the text it stands, so that a file can be
/// changed in one place and stay byte for byte what it was everywhere else.
struct JSONText: Sendable {
    struct Node: Sendable {
        let range: Range<Int>
        let content: Content
    }

    indirect enum Content: Sendable {
        case string(String)
        /// A number, a boolean or null.
        case scalar
        case array([Node])
        case object([Member])
    }

    struct Member: Sendable {
        let name: String
        let value: Node
    }

    let bytes: [UInt8]
    let root: Node

    /// Nil for anything but one JSON value, or for one deeper than 64 levels.
    init?(_ bytes: [UInt8]) {
        guard String(validating: bytes, as: UTF8.self) != nil else { return nil }
        var reader = JSONTextReader(bytes)
        guard let root = reader.document() else { return nil }
        self.bytes = bytes
        self.root = root
    }

    func slice(_ node: Node) -> [UInt8] { Array(bytes[node.range]) }

    /// Text that is equal for equal values, whatever their members' order and white space. Numbers count as they are written.
    func canonical(_ node: Node) -> String {
        switch node.content {
        case .scalar: return String(decoding: bytes[node.range], as: UTF8.self)
        case .string(let text): return JSONText.quoted(text)
        case .array(let elements): return "[\(elements.map(canonical).joined(separator: ","))]"
        case .object(let members):
            let texts = members.map { (JSONText.quoted($0.name), canonical($0.value)) }.sorted { $0 < $1 }
            return "{\(texts.map { "\($0.0):\($0.1)" }.joined(separator: ","))}"
        }
    }

    /// `text` as a JSON string with its quotes.
    static func quoted(_ text: String) -> String {
        var bytes: [UInt8] = []
        quoteJSON(text, to: &bytes)
        return String(decoding: bytes, as: UTF8.self)
    }
}

extension JSONText.Node {
    /// The member of that name; nil when there is none, or more than one: which of them counts depends on the reader.
    subscript(_ name: String) -> JSONText.Node? {
        guard case .object(let members) = content else { return nil }
        let found = members.filter { $0.name == name }
        return found.count == 1 ? found[0].value : nil
    }

    var text: String? { if case .string(let text) = content { text } else { nil } }
    var elements: [JSONText.Node]? { if case .array(let elements) = content { elements } else { nil } }
    var isObject: Bool { if case .object = content { true } else { false } }
}
