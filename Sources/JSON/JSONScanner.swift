/// The tokens of JSON (RFC 8259), read from bytes that anybody may have written: what every reader of it here is made of. What
/// values become, how deep they may be and which of two equal members counts, is the reader's.
package struct JSONScanner {
    package let input: [UInt8]
    /// Bytes from the start.
    package private(set) var position = 0
    /// Whether half a surrogate pair is U+FFFD, as many readers have it, and not a fault.
    private let replacesHalfPairs: Bool

    package init(_ input: [UInt8], replacesHalfPairs: Bool = false) {
        self.input = input
        self.replacesHalfPairs = replacesHalfPairs
    }

    package var isAtEnd: Bool { position == input.count }
    package var next: UInt8? { position < input.count ? input[position] : nil }

    package mutating func skipBlanks() {
        while let byte = next, byte == 0x20 || byte == 0x09 || byte == 0x0a || byte == 0x0d { position += 1 }
    }

    package mutating func take(_ character: Unicode.Scalar) -> Bool {
        guard next == UInt8(ascii: character) else { return false }
        position += 1
        return true
    }

    /// `true`, `false` or `null`.
    package mutating func take(word: String) -> Bool {
        guard input[position...].starts(with: word.utf8) else { return false }
        position += word.utf8.count
        return true
    }

    /// A number as it is written (section 6): `-`, whole, fraction, exponent, of which whole has no leading zero. Nil where
    /// there is none; the position is then of no use.
    package mutating func number() -> String? {
        let start = position
        _ = take("-")
        if take("0") {
            if let byte = next, (0x30...0x39).contains(byte) { return nil }
        } else if !digits() {
            return nil
        }
        if take("."), !digits() { return nil }
        if take("e") || take("E") {
            if !take("+") { _ = take("-") }
            guard digits() else { return nil }
        }
        return String(decoding: input[start..<position], as: UTF8.self)
    }

    private mutating func digits() -> Bool {
        let start = position
        while let byte = next, (0x30...0x39).contains(byte) { position += 1 }
        return position > start
    }

    /// A string with its quotes (section 7), decoded. Nil for none, for one without end, with a control character, an escape
    /// that is none, or bytes that are not UTF-8; the position is then of no use.
    package mutating func string() -> String? {
        guard take("\"") else { return nil }
        var bytes: [UInt8] = []
        var start = position
        while let byte = next {
            switch byte {
            case UInt8(ascii: "\""):
                let rest = input[start..<position]
                position += 1
                return String(validating: bytes.isEmpty ? rest : (bytes + rest)[...], as: UTF8.self)
            case UInt8(ascii: "\\"):
                bytes += input[start..<position]
                position += 1
                guard let scalar = escape() else { return nil }
                bytes += Array(String(Character(scalar)).utf8)
                start = position
            case 0..<0x20: return nil
            default: position += 1
            }
        }
        return nil
    }

    private mutating func escape() -> Unicode.Scalar? {
        guard let byte = next else { return nil }
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return Unicode.Scalar(byte)
        case UInt8(ascii: "b"): return "\u{8}"
        case UInt8(ascii: "f"): return "\u{c}"
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "u"):
            guard let unit = fourDigits() else { return nil }
            if let scalar = Unicode.Scalar(unit) { return scalar }
            let behind = position
            if unit < 0xdc00, take(word: "\\u"), let low = fourDigits(), (0xdc00..<0xe000).contains(low) {
                return Unicode.Scalar(0x10000 + (unit - 0xd800) << 10 + (low - 0xdc00))
            }
            position = behind
            return replacesHalfPairs ? "\u{fffd}" : nil
        default: return nil
        }
    }

    private mutating func fourDigits() -> UInt32? {
        guard position + 4 <= input.count else { return nil }
        var value: UInt32 = 0
        for byte in input[position..<position + 4] {
            switch byte {
            case 0x30...0x39: value = value << 4 | UInt32(byte - 0x30)
            case 0x41...0x46, 0x61...0x66: value = value << 4 | UInt32((byte | 0x20) - 0x61 + 10)
            default: return nil
            }
        }
        position += 4
        return value
    }
}
