/// What is wrong with a JSON text, and where.
package struct JSONError: Error, Equatable, Sendable, CustomStringConvertible {
    package let reason: String
    /// Bytes from the start.
    package let offset: Int

    package var description: String { "not valid JSON: \(reason) at byte \(offset)" }
}

/// A recursive-descent parser for `JSONValue`, over bytes that anybody may have written: one value, valid UTF-8, no member
/// twice, at most 128 levels (a pod has less than 20).
struct JSONParser {
    private static let depthLimit = 128

    private var scanner: JSONScanner

    init(_ input: [UInt8]) { scanner = JSONScanner(input) }

    mutating func parse() throws(JSONError) -> JSONValue {
        let value = try value(depth: 0)
        scanner.skipBlanks()
        guard scanner.isAtEnd else { throw error("more after the value") }
        return value
    }

    private func error(_ reason: String) -> JSONError { JSONError(reason: reason, offset: scanner.position) }

    private mutating func value(depth: Int) throws(JSONError) -> JSONValue {
        guard depth < Self.depthLimit else { throw error("more than \(Self.depthLimit) levels") }
        scanner.skipBlanks()
        switch scanner.next {
        case nil: throw error("the text ends")
        case UInt8(ascii: "{"): return try object(depth: depth)
        case UInt8(ascii: "["): return try array(depth: depth)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t") where scanner.take(word: "true"): return .boolean(true)
        case UInt8(ascii: "f") where scanner.take(word: "false"): return .boolean(false)
        case UInt8(ascii: "n") where scanner.take(word: "null"): return .null
        default:
            let start = scanner.position
            guard let number = scanner.number() else { throw error("no value") }
            guard scanner.position - start <= 64 else { throw error("a number of more than 64 characters") }
            return .number(number)
        }
    }

    private mutating func string() throws(JSONError) -> String {
        guard let text = scanner.string() else { throw error("no string, or none that is valid,") }
        return text
    }

    private mutating func object(depth: Int) throws(JSONError) -> JSONValue {
        _ = scanner.take("{")
        var members: [JSONValue.Member] = []
        // For large objects only: comparing with each other name would take quadratic time.
        var names: Set<String> = []
        scanner.skipBlanks()
        if scanner.take("}") { return .object([]) }
        while true {
            scanner.skipBlanks()
            let name = try string()
            if members.count == 16 { names = Set(members.map(\.name)) }
            let isNew =
                members.count < 16 ? !members.contains { $0.name == name } : names.insert(name).inserted
            guard isNew else { throw error("member \"\(name.prefix(64))\" is there twice") }
            scanner.skipBlanks()
            guard scanner.take(":") else { throw error("no colon") }
            members.append(JSONValue.Member(name, try value(depth: depth + 1)))
            scanner.skipBlanks()
            if scanner.take("}") { return .object(members) }
            guard scanner.take(",") else { throw error("an object without end") }
        }
    }

    private mutating func array(depth: Int) throws(JSONError) -> JSONValue {
        _ = scanner.take("[")
        var values: [JSONValue] = []
        scanner.skipBlanks()
        if scanner.take("]") { return .array([]) }
        while true {
            values.append(try value(depth: depth + 1))
            scanner.skipBlanks()
            if scanner.take("]") { return .array(values) }
            guard scanner.take(",") else { throw error("an array without end") }
        }
    }
}

extension JSONValue {
    package init(parsing text: [UInt8]) throws(JSONError) {
        var parser = JSONParser(text)
        self = try parser.parse()
    }
}
