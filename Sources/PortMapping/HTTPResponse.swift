package import Timing

/// The answer to one HTTP/1.1 request over a connection of its own, from the bytes that came (RFC 9112): status and body,
/// by length, in chunks or up to the end. Anything larger than the limit is no answer.
package struct HTTPResponse: Equatable, Sendable {
    /// Head and body together, as they came.
    package static let sizeLimit = 131_072
    /// From connection to answer.
    package static let timeout = Interval.seconds(3)
    private static let headLimit = 16_384

    package let status: Int
    package let body: [UInt8]
    private let headers: [(name: String, value: String)]

    /// The first header of that name, in lower case.
    package func header(_ name: String) -> String? { headers.first { $0.name == name }?.value }

    package static func == (left: Self, right: Self) -> Bool {
        left.status == right.status && left.body == right.body
    }

    /// What is to be thought of the bytes so far.
    package enum Reading: Equatable, Sendable {
        case incomplete, malformed
        case complete(HTTPResponse)
    }

    /// - Parameter isEnded: whether the other side has closed.
    package static func read(_ bytes: [UInt8], isEnded: Bool) -> Reading {
        guard bytes.count <= sizeLimit else { return .malformed }
        guard let end = endOfHead(bytes) else {
            return isEnded || bytes.count > headLimit ? .malformed : .incomplete
        }
        let lines = String(decoding: bytes[..<end], as: UTF8.self).split(
            omittingEmptySubsequences: true, whereSeparator: \.isNewline)
        let words = lines.first?.split(separator: " ") ?? []
        guard words.count >= 2, words[0].hasPrefix("HTTP/1."), let status = Int(words[1]), (100...599).contains(status)
        else { return .malformed }
        let headers = lines.dropFirst().prefix(64).compactMap { line -> (name: String, value: String)? in
            guard let colon = line.firstIndex(of: ":") else { return nil }
            return (line[..<colon].lowercased(), trimmed(line[line.index(after: colon)...]))
        }
        let rest = bytes[end...]
        func answer(_ body: some Sequence<UInt8>) -> Reading {
            .complete(HTTPResponse(status: status, body: Array(body), headers: headers))
        }
        let encoding = headers.first { $0.name == "transfer-encoding" }?.value.lowercased()
        if encoding == "chunked" {
            switch chunks(rest) {
            case .some(.some(let body)): return answer(body)
            case .some(nil): return isEnded ? .malformed : .incomplete
            case nil: return .malformed
            }
        }
        if let text = headers.first(where: { $0.name == "content-length" })?.value {
            guard let length = Int(text), (0...sizeLimit).contains(length) else { return .malformed }
            if rest.count >= length { return answer(rest.prefix(length)) }
            return isEnded ? .malformed : .incomplete
        }
        return isEnded ? answer(rest) : .incomplete
    }

    private init(status: Int, body: [UInt8], headers: [(name: String, value: String)]) {
        self.status = status
        self.body = body
        self.headers = headers
    }

    /// Behind the empty line.
    private static func endOfHead(_ bytes: [UInt8]) -> Int? {
        var lineLength = 0
        for (index, byte) in bytes.enumerated() {
            if byte == 0x0a {
                if lineLength == 0 { return index + 1 }
                lineLength = 0
            } else if byte != 0x0d {
                lineLength += 1
            }
        }
        return nil
    }

    /// The body, nil inside while it is not complete, nil outside when it is malformed.
    private static func chunks(_ bytes: ArraySlice<UInt8>) -> [UInt8]?? {
        var body: [UInt8] = []
        var rest = bytes
        while true {
            guard let newline = rest.firstIndex(of: 0x0a) else { return rest.count > 64 ? nil : .some(nil) }
            let line = String(
                decoding: rest[rest.startIndex..<newline].prefix { $0 != 0x0d && $0 != 0x3b }, as: UTF8.self)
            guard let size = Int(trimmed(line), radix: 16), (0...sizeLimit).contains(size) else { return nil }
            if size == 0 { return body }
            rest = rest[(newline + 1)...]
            guard rest.count >= size + 2 else { return .some(nil) }
            body += rest.prefix(size)
            rest = rest.dropFirst(size)
            if rest.first == 0x0d { rest = rest.dropFirst() }
            guard rest.first == 0x0a else { return nil }
            rest = rest.dropFirst()
        }
    }

    private static func trimmed(_ text: some StringProtocol) -> String {
        var text = Substring(text)
        while text.first?.isWhitespace == true { text.removeFirst() }
        while text.last?.isWhitespace == true { text.removeLast() }
        return String(text)
    }
}
