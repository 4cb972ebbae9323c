/// The rules for names of meshes and agents: DNS names in lower case, which are also valid parts of a SPIFFE ID
/// (SPIFFE-ID 2.1, 2.2).
package enum AgentName {
    /// Two labels with their dot: `POD.NAMESPACE`.
    package static let lengthLimit = 127
    /// What is between two dots (RFC 1035 2.3.4); a mesh's name as a whole.
    package static let labelLimit = 63

    package static func isValidMesh(_ name: String) -> Bool { name.utf8.count <= labelLimit && isValid(name) }

    package static func isValid(_ name: String) -> Bool {
        let bytes = Array(name.utf8)
        guard (1...lengthLimit).contains(bytes.count), let first = bytes.first, let last = bytes.last else {
            return false
        }
        // Over bytes: `contains` of a string would bring the regular expression engine into every pod.
        let hasEmptyPart = zip(bytes, bytes.dropFirst()).contains { $0 == UInt8(ascii: ".") && $1 == UInt8(ascii: ".") }
        guard isAlphanumeric(first), isAlphanumeric(last), !hasEmptyPart else { return false }
        var label = 0
        for byte in bytes {
            label = byte == UInt8(ascii: ".") ? 0 : label + 1
            guard label <= labelLimit else { return false }
        }
        return bytes.allSatisfy { isAlphanumeric($0) || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: ".") }
    }

    static func isAlphanumeric(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
    }
}

/// The names that a join token allows: `*` stands for any run of characters, `?` for one.
package struct NamePattern: Hashable, Sendable, CustomStringConvertible {
    package let description: String

    package static let any = NamePattern(unchecked: "*")

    private init(unchecked text: String) { description = text }

    /// Nil unless `text` consists of characters of names, `*` and `?`, 127 at most.
    package init?(_ text: String) {
        let bytes = Array(text.utf8)
        let allowed = bytes.allSatisfy {
            AgentName.isAlphanumeric($0) || [UInt8(ascii: "-"), UInt8(ascii: "."), Self.star, Self.mark].contains($0)
        }
        guard allowed, (1...AgentName.lengthLimit).contains(bytes.count) else { return nil }
        description = text
    }

    package func matches(_ name: String) -> Bool {
        let pattern = Array(description.utf8)
        let text = Array(name.utf8)
        var (p, t) = (0, 0)
        var retry: (pattern: Int, text: Int)?
        while t < text.count {
            if p < pattern.count, pattern[p] == Self.star {
                retry = (p, t)
                p += 1
            } else if p < pattern.count, pattern[p] == Self.mark || pattern[p] == text[t] {
                p += 1
                t += 1
            } else if let last = retry {
                retry = (last.pattern, last.text + 1)
                p = last.pattern + 1
                t = last.text + 1
            } else {
                return false
            }
        }
        return pattern[p...].allSatisfy { $0 == Self.star }
    }

    /// The name for an agent that asks for none: the pattern itself, or the pattern with digits of the agent's id where it
    /// is open. The same agent gets the same name each time.
    package func name(digits: String) -> String {
        var digits = Array(digits.utf8)[...]
        var name: [UInt8] = []
        for byte in description.utf8 {
            switch byte {
            case Self.star:
                name += digits.prefix(8)
                digits = digits.dropFirst(8)
            case Self.mark: name.append(digits.popFirst() ?? UInt8(ascii: "0"))
            default: name.append(byte)
            }
        }
        return String(decoding: name, as: UTF8.self)
    }

    private static let star = UInt8(ascii: "*")
    private static let mark = UInt8(ascii: "?")
}
