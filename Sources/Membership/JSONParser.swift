import JSON

/// A recursive-descent parser for `JSONValue`, over bytes that anybody may have written.
struct JSONParser {
    private static let depthLimit = 8

    private var scanner: JSONScanner

    /// The value whose text is all of `input`; nil when it is anything else.
    static func parse(_ input: [UInt8]) -> JSONValue? {
        var parser = JSONParser(scanner: JSONScanner(input))
        guard let value = parser.value(depth: 0) else { return nil }
        parser.scanner.skipBlanks()
        return parser.scanner.isAtEnd ? value : nil
    }

    private mutating func value(depth: Int) -> JSONValue? {
        guard depth < Self.depthLimit else { return nil }
        scanner.skipBlanks()
        switch scanner.next {
        case UInt8(ascii: "{"): return object(depth: depth)
        case UInt8(ascii: "["): return array(depth: depth)
        case UInt8(ascii: "\""): return scanner.string().map(JSONValue.string)
        case let byte? where (0x30...0x39).contains(byte):
            // With a fraction or an exponent it is no whole number's one text.
            return scanner.number().flatMap { UInt64($0) }.map(JSONValue.number)
        case UInt8(ascii: "t"): return scanner.take(word: "true") ? .bool(true) : nil
        case UInt8(ascii: "f"): return scanner.take(word: "false") ? .bool(false) : nil
        case UInt8(ascii: "n"): return scanner.take(word: "null") ? .null : nil
        default: return nil
        }
    }

    private mutating func object(depth: Int) -> JSONValue? {
        _ = scanner.take("{")
        var members: [JSONValue.Member] = []
        scanner.skipBlanks()
        if scanner.take("}") { return .object([]) }
        while true {
            scanner.skipBlanks()
            guard let name = scanner.string(), !members.contains(where: { $0.name == name }) else { return nil }
            scanner.skipBlanks()
            guard scanner.take(":"), let value = value(depth: depth + 1) else { return nil }
            members.append(JSONValue.Member(name, value))
            scanner.skipBlanks()
            if scanner.take("}") { return .object(members) }
            guard scanner.take(",") else { return nil }
        }
    }

    private mutating func array(depth: Int) -> JSONValue? {
        _ = scanner.take("[")
        var values: [JSONValue] = []
        scanner.skipBlanks()
        if scanner.take("]") { return .array([]) }
        while true {
            guard let value = value(depth: depth + 1) else { return nil }
            values.append(value)
            scanner.skipBlanks()
            if scanner.take("]") { return .array(values) }
            guard scanner.take(",") else { return nil }
        }
    }
}

extension JSONValue {
    /// The value whose text is all of `text`; nil when it is not JSON, or JSON that this type leaves out.
    package init?(parsing text: [UInt8]) {
        guard let value = JSONParser.parse(text) else { return nil }
        self = value
    }
}
