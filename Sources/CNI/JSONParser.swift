import JSON

/// A recursive-descent parser of JSON over bytes that anybody may have written.
///
/// One value, valid UTF-8, at most `depthLimit` levels. Of members with one name the last counts, as for the
/// runtimes' own parser.
struct JSONParser {
    static let depthLimit = 64

    private var scanner: JSONScanner

    init(_ input: [UInt8]) { scanner = JSONScanner(input) }

    /// The value whose text is all of the input; nil when it is anything else.
    mutating func parse() -> JSONValue? {
        guard let value = value(depth: 0) else { return nil }
        scanner.skipBlanks()
        return scanner.isAtEnd ? value : nil
    }

    private mutating func value(depth: Int) -> JSONValue? {
        guard depth < Self.depthLimit else { return nil }
        scanner.skipBlanks()
        switch scanner.next {
        case UInt8(ascii: "{"): return object(depth: depth)
        case UInt8(ascii: "["): return array(depth: depth)
        case UInt8(ascii: "\""): return scanner.string().map(JSONValue.string)
        case UInt8(ascii: "t"): return scanner.take(word: "true") ? .boolean(true) : nil
        case UInt8(ascii: "f"): return scanner.take(word: "false") ? .boolean(false) : nil
        case UInt8(ascii: "n"): return scanner.take(word: "null") ? .null : nil
        default:
            return scanner.number().map { literal in
                if literal != "-0", let integer = Int64(literal) { .integer(integer) } else { .number(literal) }
            }
        }
    }

    private mutating func object(depth: Int) -> JSONValue? {
        _ = scanner.take("{")
        var members: [String: JSONValue] = [:]
        scanner.skipBlanks()
        if scanner.take("}") { return .object(members) }
        while true {
            scanner.skipBlanks()
            guard let name = scanner.string() else { return nil }
            scanner.skipBlanks()
            guard scanner.take(":"), let value = value(depth: depth + 1) else { return nil }
            members[name] = value
            scanner.skipBlanks()
            if scanner.take("}") { return .object(members) }
            guard scanner.take(",") else { return nil }
        }
    }

    private mutating func array(depth: Int) -> JSONValue? {
        _ = scanner.take("[")
        var elements: [JSONValue] = []
        scanner.skipBlanks()
        if scanner.take("]") { return .array(elements) }
        while true {
            guard let value = value(depth: depth + 1) else { return nil }
            elements.append(value)
            scanner.skipBlanks()
            if scanner.take("]") { return .array(elements) }
            guard scanner.take(",") else { return nil }
        }
    }
}

extension JSONValue {
    package init(parsing bytes: [UInt8]) throws(CNIError) {
        var parser = JSONParser(bytes)
        guard let value = parser.parse() else { throw .undecodable("decode JSON: not valid JSON") }
        self = value
    }
}
