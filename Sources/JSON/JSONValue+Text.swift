extension JSONValue {
    /// Compact text: no white space, members in their order.
    package var serialized: [UInt8] {
        var output: [UInt8] = []
        write(to: &output, indent: nil, depth: 0)
        return output
    }

    /// Text for a person: a member a line, two spaces a level.
    package var page: String {
        var output: [UInt8] = []
        write(to: &output, indent: 2, depth: 0)
        return String(decoding: output, as: UTF8.self)
    }

    private func write(to output: inout [UInt8], indent: Int?, depth: Int) {
        switch self {
        case .null: output += "null".utf8
        case .boolean(let flag): output += (flag ? "true" : "false").utf8
        case .number(let digits): output += digits.utf8
        case .string(let text): quoteJSON(text, to: &output)
        case .array(let elements):
            Self.writeList(elements, "[]", to: &output, indent, depth) { element, output in
                element.write(to: &output, indent: indent, depth: depth + 1)
            }
        case .object(let members):
            Self.writeList(members, "{}", to: &output, indent, depth) { member, output in
                quoteJSON(member.name, to: &output)
                output.append(UInt8(ascii: ":"))
                if indent != nil { output.append(UInt8(ascii: " ")) }
                member.value.write(to: &output, indent: indent, depth: depth + 1)
            }
        }
    }

    private static func writeList<Item>(
        _ items: [Item], _ brackets: StaticString, to output: inout [UInt8], _ indent: Int?, _ depth: Int,
        _ write: (Item, inout [UInt8]) -> Void
    ) {
        let brackets = Array(brackets.description.utf8)
        func breakLine(_ depth: Int, _ output: inout [UInt8]) {
            guard let indent, !items.isEmpty else { return }
            output.append(UInt8(ascii: "\n"))
            output += [UInt8](repeating: UInt8(ascii: " "), count: depth * indent)
        }
        output.append(brackets[0])
        for (index, item) in items.enumerated() {
            if index > 0 { output.append(UInt8(ascii: ",")) }
            breakLine(depth + 1, &output)
            write(item, &output)
        }
        breakLine(depth, &output)
        output.append(brackets[1])
    }
}
