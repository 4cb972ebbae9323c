import JSON
import Testing

/// A JSON Patch (RFC 6902) applied to Foundation-free values by the tests' own hand: it reads the patch's JSON as an API
/// server does, and shares nothing with the code that made it.
enum PatchApplier {
    struct Failure: Error { let what: String }

    static func apply(_ patch: JSONValue, to document: JSONValue) throws -> JSONValue {
        var document = document
        for operation in try #require(patch.elements) {
            guard operation["op"]?.text == "add" else { throw Failure(what: "operation \(operation)") }
            let pointer = try #require(operation["path"]?.text)
            let value = try #require(operation["value"])
            guard pointer.isEmpty || pointer.hasPrefix("/") else { throw Failure(what: pointer) }
            let tokens = pointer.split(separator: "/", omittingEmptySubsequences: false).dropFirst().map {
                String($0).replacing("~1", with: "/").replacing("~0", with: "~")
            }
            try add(value, at: tokens, to: &document)
        }
        return document
    }

    private static func add(_ value: JSONValue, at tokens: [String], to document: inout JSONValue) throws {
        guard let token = tokens.first else {
            document = value
            return
        }
        if var members = document.members {
            let place = members.firstIndex { $0.name == token }
            if tokens.count == 1 {
                if let place { members.remove(at: place) }
                members.insert(.init(token, value), at: place ?? members.endIndex)
            } else {
                guard let place else { throw Failure(what: "no member \(token)") }
                try add(value, at: Array(tokens.dropFirst()), to: &members[place].value)
            }
            document = .object(members)
        } else if var elements = document.elements {
            guard let index = token == "-" ? elements.count : Int(token), index <= elements.count else {
                throw Failure(what: "no element \(token)")
            }
            if tokens.count == 1 {
                elements.insert(value, at: index)
            } else {
                try add(value, at: Array(tokens.dropFirst()), to: &elements[index])
            }
            document = .array(elements)
        } else {
            throw Failure(what: "\(token) of a scalar")
        }
    }
}
