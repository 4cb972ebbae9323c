/// An element of an XML document: its name without prefix, the text in it, and the elements in it.
///
/// Made by a parser for what gateways send and nothing more: no document type (so no entities but the five and
/// characters by number), no external anything, and bounds on size, depth and count. Attributes are skipped.
struct XMLElement: Equatable, Sendable {
    var name: String
    var text = ""
    var children: [XMLElement] = []

    static let sizeLimit = 65_536
    static let depthLimit = 24
    static let countLimit = 2_000
    static let nameLimit = 128

    /// The document's root; nil for what is not well-formed, or beyond the bounds.
    init?(document: [UInt8]) {
        guard document.count <= Self.sizeLimit else { return nil }
        var reader = XMLReader(document)
        guard let root = reader.root() else { return nil }
        self = root
    }

    init(name: String) { self.name = name }

    /// The first child of that name.
    subscript(_ name: String) -> XMLElement? { children.first { $0.name == name } }

    /// The first element of that name in the document order, this one included.
    func first(_ name: String) -> XMLElement? {
        if self.name == name { return self }
        for child in children {
            if let found = child.first(name) { return found }
        }
        return nil
    }

    /// All elements of that name, at whatever depth.
    func all(_ name: String) -> [XMLElement] {
        (self.name == name ? [self] : []) + children.flatMap { $0.all(name) }
    }

    /// The text of the first child of that name, without spaces around it.
    func text(_ name: String) -> String? { self[name]?.trimmed }

    var trimmed: String {
        let bytes = Array(text.utf8)
        guard let first = bytes.firstIndex(where: { !isSpace($0) }), let last = bytes.lastIndex(where: { !isSpace($0) })
        else { return "" }
        return String(decoding: bytes[first...last], as: UTF8.self)
    }
}

private func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0d).contains(byte) }

/// The parser: one pass, no recursion. Nil from any method ends it.
private struct XMLReader {
    private let bytes: [UInt8]
    private var position = 0
    private var count = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    mutating func root() -> XMLElement? {
        var open: [XMLElement] = []
        var text: [UInt8] = []
        while position < bytes.count {
            guard bytes[position] == UInt8(ascii: "<") else {
                guard let character = character() else { return nil }
                // Text outside the root is no text: only space may be there.
                if open.isEmpty {
                    guard character.allSatisfy(isSpace) || isByteOrderMark(character) else { return nil }
                } else {
                    text += character
                }
                continue
            }
            if skip("<?", to: "?>") || skip("<!--", to: "-->") { continue }
            if let data = take("<![CDATA[", to: "]]>") {
                if open.isEmpty { return nil }
                text += data
                continue
            }
            let isEnd = starts("</")
            position += isEnd ? 2 : 1
            guard let name = name(), let isEmpty = restOfTag(isEnd: isEnd) else { return nil }
            if !open.isEmpty {
                open[open.count - 1].text += String(decoding: text, as: UTF8.self)
                text = []
            }
            if !isEnd {
                count += 1
                guard count <= XMLElement.countLimit, open.count < XMLElement.depthLimit else { return nil }
                open.append(XMLElement(name: name))
            }
            if isEnd || isEmpty {
                guard let element = open.popLast(), element.name == name else { return nil }
                if open.isEmpty { return element }
                open[open.count - 1].children.append(element)
            }
        }
        return nil
    }

    /// One character of text, or what a reference stands for.
    private mutating func character() -> [UInt8]? {
        let byte = bytes[position]
        position += 1
        guard byte == UInt8(ascii: "&") else { return [byte] }
        guard let end = bytes[position...].prefix(12).firstIndex(of: UInt8(ascii: ";")) else { return nil }
        let reference = String(decoding: bytes[position..<end], as: UTF8.self)
        position = end + 1
        switch reference {
        case "lt": return [UInt8(ascii: "<")]
        case "gt": return [UInt8(ascii: ">")]
        case "amp": return [UInt8(ascii: "&")]
        case "quot": return [UInt8(ascii: "\"")]
        case "apos": return [UInt8(ascii: "'")]
        default:
            guard reference.hasPrefix("#") else { return nil }
            let digits = reference.dropFirst()
            let number =
                digits.hasPrefix("x") ? UInt32(digits.dropFirst(), radix: 16) : UInt32(digits)
            guard let scalar = number.flatMap(Unicode.Scalar.init), scalar.value > 0 else { return nil }
            return Array(String(Character(scalar)).utf8)
        }
    }

    private func isByteOrderMark(_ character: [UInt8]) -> Bool {
        position <= 3 && [0xef, 0xbb, 0xbf].contains(character[0])
    }

    /// A name, of which what is before a colon is left out. Upper and lower case, digits and `._-:`.
    private mutating func name() -> String? {
        let start = position
        while position < bytes.count, isName(bytes[position]) { position += 1 }
        guard (1...XMLElement.nameLimit).contains(position - start) else { return nil }
        let whole = bytes[start..<position]
        let local = whole.lastIndex(of: UInt8(ascii: ":")).map { whole[($0 + 1)...] } ?? whole
        return local.isEmpty ? nil : String(decoding: local, as: UTF8.self)
    }

    private func isName(_ byte: UInt8) -> Bool {
        (0x30...0x3a).contains(byte) || (0x41...0x5a).contains(byte & 0xdf) || byte == 0x2d || byte == 0x2e
            || byte == 0x5f
    }

    /// Skips attributes up to the end of the tag; whether the element ends with it.
    private mutating func restOfTag(isEnd: Bool) -> Bool? {
        var quote: UInt8?
        while position < bytes.count {
            let byte = bytes[position]
            position += 1
            if let open = quote {
                if byte == open { quote = nil }
                continue
            }
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "'"): quote = byte
            case UInt8(ascii: "<"): return nil
            case UInt8(ascii: ">"): return !isEnd && bytes[position - 2] == UInt8(ascii: "/")
            default: break
            }
        }
        return nil
    }

    private func starts(_ text: StaticString) -> Bool {
        let pattern = text.description.utf8
        return bytes.count - position >= pattern.count
            && bytes[position...].prefix(pattern.count).elementsEqual(pattern)
    }

    /// Skips from `open` to the end of `close`; false if it is not there.
    private mutating func skip(_ open: StaticString, to close: StaticString) -> Bool { take(open, to: close) != nil }

    private mutating func take(_ open: StaticString, to close: StaticString) -> ArraySlice<UInt8>? {
        guard starts(open) else { return nil }
        let pattern = Array(close.description.utf8)
        let start = position + open.utf8CodeUnitCount
        var index = start
        while index + pattern.count <= bytes.count {
            if bytes[index..<index + pattern.count].elementsEqual(pattern) {
                position = index + pattern.count
                return bytes[start..<index]
            }
            index += 1
        }
        return nil
    }
}
