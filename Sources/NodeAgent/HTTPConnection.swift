import Glibc
import Linux
import Timing

/// One request of a client that may send anything: its head is read up to the empty line, and answered once.
final class HTTPConnection {
    struct Answer {
        let status: String
        let body: String
        let type: String

        init(_ status: String, _ body: String, type: String = "application/json") {
            self.status = status
            self.body = body
            self.type = type
        }

        var bytes: [UInt8] {
            let head = [
                "HTTP/1.1 \(status)", "Content-Type: \(type)", "Content-Length: \(body.utf8.count)",
                "Connection: close",
                "Cache-Control: no-store",
            ]
            return Array((head.joined(separator: "\r\n") + "\r\n\r\n" + body).utf8)
        }
    }

    private static let sizeLimit = 16384

    let deadline: MonotonicTime
    private let descriptor: FileDescriptor
    private var input: [UInt8] = []

    init(_ descriptor: consuming FileDescriptor, until deadline: MonotonicTime) {
        self.descriptor = descriptor
        self.deadline = deadline
    }

    /// Reads what has come; true when the connection is to be closed, answered or not.
    func isDone(_ answer: (String) -> Answer) -> Bool {
        let chunk: [UInt8]
        do { chunk = try descriptor.read(upTo: 4096) } catch { return error.errno != .again }
        if chunk.isEmpty { return true }
        input += chunk
        let end: [UInt8] = [0x0d, 0x0a, 0x0d, 0x0a]
        if let head = input.firstRange(of: end) {
            send(
                Self.target(of: input[..<head.lowerBound]).map(answer)
                    ?? Answer("404 Not Found", #"{"error":"not found"}"# + "\n"))
            return true
        }
        guard input.count <= Self.sizeLimit else {
            send(Answer("413 Payload Too Large", #"{"error":"too large"}"# + "\n"))
            return true
        }
        return false
    }

    /// What a GET asks for; nil for anything else.
    private static func target(of head: ArraySlice<UInt8>) -> String? {
        let line = String(decoding: head.prefix { $0 != 0x0d }, as: UTF8.self)
        let words = line.split(separator: " ", omittingEmptySubsequences: false)
        guard words.count == 3, words[0] == "GET", words[2].hasPrefix("HTTP/1.") else { return nil }
        return String(words[1])
    }

    /// An answer is far smaller than a socket's buffer, which is empty.
    private func send(_ answer: Answer) {
        let bytes = answer.bytes
        _ = unsafe bytes.withUnsafeBytes {
            unsafe Glibc.send(descriptor.raw, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
        }
        _ = shutdown(descriptor.raw, Int32(SHUT_WR))
    }
}
