import JSON

/// The recursive descent behind `JSONText`: strict in its grammar, bounded in its depth.
struct JSONTextReader {
    private static let depthLimit = 64

    private var scanner: JSONScanner

    init(_ bytes: [UInt8]) { scanner = JSONScanner(bytes, replacesHalfPairs: true) }

    mutating func document() -> JSONText.Node? {
        guard let root = value(depth: 0) else { return nil }
        scanner.skipBlanks()
        return scanner.isAtEnd ? root : nil
    }

    private mutating func value(depth: Int) -> JSONText.Node? {
        guard depth < Self.depthLimit else { return nil }
        scanner.skipBlanks()
        let start = scanner.position
        let content: JSONText.Content?
        switch scanner.next {
        case UInt8(ascii: "{"): content = object(depth: depth)
        case UInt8(ascii: "["): content = array(depth: depth)
        case UInt8(ascii: "\""): content = scanner.string().map { .string($0) }
        default:
            let isWord = scanner.take(word: "true") || scanner.take(word: "false") || scanner.take(word: "null")
            content = isWord || scanner.number() != nil ? .scalar : nil
        }
        return content.map { JSONText.Node(range: start..<scanner.position, content: $0) }
    }

    private mutating func object(depth: Int) -> JSONText.Content? {
        _ = scanner.take("{")
        var members: [JSONText.Member] = []
        scanner.skipBlanks()
        if scanner.take("}") { return .object([]) }
        while true {
            scanner.skipBlanks()
            guard let name = scanner.string() else { return nil }
            scanner.skipBlanks()
            guard scanner.take(":"), let value = value(depth: depth + 1) else { return nil }
            members.append(JSONText.Member(name: name, value: value))
            scanner.skipBlanks()
            if scanner.take("}") { return .object(members) }
            guard scanner.take(",") else { return nil }
        }
    }

    private mutating func array(depth: Int) -> JSONText.Content? {
        _ = scanner.take("[")
        var elements: [JSONText.Node] = []
        scanner.skipBlanks()
        if scanner.take("]") { return .array([]) }
        while true {
            guard let value = value(depth: depth + 1) else { return nil }
            elements.append(value)
            scanner.skipBlanks()
            if scanner.take("]") { return .array(elements) }
            guard scanner.take(",") else { return nil }
        }
    }
}
