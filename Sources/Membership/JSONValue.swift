import JSON

/// The part of JSON (RFC 8259) that tokens and records use: no negative and no fractional numbers.
///
/// Parsing is strict: one value, valid UTF-8, no member twice, at most 8 levels, whole numbers below 2^64. An object keeps
/// the order of its members, so that what we write is the same each time.
package indirect enum JSONValue: Equatable, Sendable {
    case object([Member])
    case array([JSONValue])
    case string(String)
    case number(UInt64)
    case bool(Bool)
    case null

    package struct Member: Equatable, Sendable {
        package let name: String
        package let value: JSONValue

        package init(_ name: String, _ value: JSONValue) {
            self.name = name
            self.value = value
        }
    }

    /// The member of an object; nil when it has none or this is not an object.
    package subscript(_ name: String) -> JSONValue? {
        if case .object(let members) = self { members.first { $0.name == name }?.value } else { nil }
    }

    package var string: String? { if case .string(let text) = self { text } else { nil } }
    package var number: UInt64? { if case .number(let number) = self { number } else { nil } }
    package var array: [JSONValue]? { if case .array(let values) = self { values } else { nil } }
    package var isObject: Bool { if case .object = self { true } else { false } }

    /// The strings of an array of nothing but strings.
    package var strings: [String]? {
        guard let array else { return nil }
        let strings = array.compactMap(\.string)
        return strings.count == array.count ? strings : nil
    }
}

// MARK: Writing

extension JSONValue {
    /// Compact text: no white space, members in order.
    package var text: [UInt8] {
        var output: [UInt8] = []
        write(to: &output)
        return output
    }

    private func write(to output: inout [UInt8]) {
        switch self {
        case .object(let members):
            output.append(UInt8(ascii: "{"))
            for (index, member) in members.enumerated() {
                if index > 0 { output.append(UInt8(ascii: ",")) }
                quoteJSON(member.name, to: &output)
                output.append(UInt8(ascii: ":"))
                member.value.write(to: &output)
            }
            output.append(UInt8(ascii: "}"))
        case .array(let values):
            output.append(UInt8(ascii: "["))
            for (index, value) in values.enumerated() {
                if index > 0 { output.append(UInt8(ascii: ",")) }
                value.write(to: &output)
            }
            output.append(UInt8(ascii: "]"))
        case .string(let text): quoteJSON(text, to: &output)
        case .number(let number): output += String(number).utf8
        case .bool(let flag): output += (flag ? "true" : "false").utf8
        case .null: output += "null".utf8
        }
    }
}
