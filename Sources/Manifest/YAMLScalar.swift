package import JSON

/// What a plain scalar of YAML means, as kubectl reads it (YAML 1.1 without sexagesimals, timestamps and infinities): a
/// file mode `0440` is octal, and `yes` is true.
package enum YAMLScalar {
    package static func resolve(_ text: String) -> JSONValue {
        switch text {
        case "", "~", "null", "Null", "NULL": return .null
        case "true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y": return true
        case "false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N": return false
        default: return number(text) ?? .string(text)
        }
    }

    private static func number(_ text: String) -> JSONValue? {
        guard text.utf8.count <= 64, let first = text.utf8.first else { return nil }
        let isSigned = first == UInt8(ascii: "-") || first == UInt8(ascii: "+")
        let sign = first == UInt8(ascii: "-") ? "-" : ""
        let magnitude = String(text.dropFirst(isSigned ? 1 : 0).filter { $0 != "_" })
        guard let start = magnitude.utf8.first, (0x30...0x39).contains(start) || start == UInt8(ascii: ".") else {
            return nil
        }
        for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2), ("0", 8)] where magnitude.hasPrefix(prefix) {
            let digits = magnitude.dropFirst(prefix.utf8.count)
            if digits.first?.isHexDigit ?? false, let value = UInt64(digits, radix: radix) {
                return .number(sign + String(value))
            }
        }
        if magnitude.utf8.allSatisfy({ (0x30...0x39).contains($0) }) {
            let digits = magnitude.drop { $0 == "0" }
            return .number(digits.isEmpty ? "0" : sign + digits)
        }
        let allowed = magnitude.utf8.allSatisfy { (0x30...0x39).contains($0) || "+-.eE".utf8.contains($0) }
        guard allowed, let value = Double(magnitude), value.isFinite else { return nil }
        // In JSON's spelling, which has a digit on both sides of the point: what Swift prints.
        return .number(sign + "\(value)")
    }
}
