import FoundationEssentials

/// Any JSON value: what is passed on without being understood, as prevResult's unknown keys.
package enum JSONValue: Hashable, Sendable {
    case null
    case boolean(Bool)
    case integer(Int64)
    case number(Double)
    case string(String)
    case array([JSONValue])
    case object([String: JSONValue])

    package subscript(_ key: String) -> JSONValue? {
        if case .object(let members) = self { members[key] } else { nil }
    }

    package var text: String? {
        if case .string(let text) = self { text } else { nil }
    }

    package var elements: [JSONValue]? {
        if case .array(let elements) = self { elements } else { nil }
    }

    package var integer: Int64? {
        if case .integer(let value) = self { value } else { nil }
    }
}

extension JSONValue: Codable {
    package init(from decoder: any Decoder) throws {
        let value = try decoder.singleValueContainer()
        if value.decodeNil() {
            self = .null
        } else if let text = try? value.decode(String.self) {
            self = .string(text)
        } else if let members = try? value.decode([String: JSONValue].self) {
            self = .object(members)
        } else if let elements = try? value.decode([JSONValue].self) {
            self = .array(elements)
        } else if let boolean = try? value.decode(Bool.self) {
            self = .boolean(boolean)
        } else if let integer = try? value.decode(Int64.self) {
            self = .integer(integer)
        } else {
            self = .number(try value.decode(Double.self))
        }
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .null: try container.encodeNil()
        case .boolean(let value): try container.encode(value)
        case .integer(let value): try container.encode(value)
        case .number(let value): try container.encode(value)
        case .string(let value): try container.encode(value)
        case .array(let value): try container.encode(value)
        case .object(let value): try container.encode(value)
        }
    }
}

extension JSONValue {
    /// Compact text with sorted keys, so that equal values have equal bytes.
    package func serialized() throws(CNIError) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        do { return Array(try encoder.encode(self)) } catch { throw .undecodable("encode result: \(error)") }
    }

    package init(parsing bytes: [UInt8]) throws(CNIError) {
        do { self = try JSONDecoder().decode(JSONValue.self, from: Data(bytes)) } catch {
            throw .undecodable("decode JSON: \(decodingFault(error))")
        }
    }
}

/// What a decoder complains about, in one line with the key it is about.
func decodingFault(_ error: any Error) -> String {
    guard let error = error as? DecodingError else { return "\(error)" }
    func key(_ path: [any CodingKey]) -> String {
        path.map { $0.intValue.map { "[\($0)]" } ?? $0.stringValue }.joined(separator: ".")
    }
    return switch error {
    case .typeMismatch(let type, let context): "key \(key(context.codingPath)) is not of type \(type)"
    case .valueNotFound(_, let context): "key \(key(context.codingPath)) is null"
    case .keyNotFound(let missing, _): "key \(missing.stringValue) is missing"
    case .dataCorrupted(let context):
        context.codingPath.isEmpty
            ? "not valid JSON" : "key \(key(context.codingPath)): \(context.debugDescription)"
    @unknown default: "not valid JSON"
    }
}
