import Glibc
import Linux
import Timing

/// One request of a client that may send anything: its head is read up to the empty line, and answered once. One thread.
final class ScrapeConnection {
    /// What the connection waits for.
    enum Wait { case toRead, toWrite, nothing }

    private static let sizeLimit = 16384

    let deadline: MonotonicTime
    private let descriptor: FileDescriptor
    private var input: [UInt8] = []
    private var output: ArraySlice<UInt8> = []

    init(_ descriptor: consuming FileDescriptor, until deadline: MonotonicTime) {
        self.descriptor = descriptor
        self.deadline = deadline
    }

    var raw: Int32 { descriptor.raw }

    /// Goes on as far as it can; with `.nothing` it is to be closed, answered or not.
    func advance(_ answer: (String) -> ScrapeAnswer?) -> Wait {
        if !output.isEmpty { return send() }
        let chunk: [UInt8]
        do { chunk = try descriptor.read(upTo: 4096) } catch { return error.errno == .again ? .toRead : .nothing }
        if chunk.isEmpty { return .nothing }
        input += chunk
        if let end = Self.headEnd(input) {
            let target = Self.target(of: input[..<end])
            output = (target.flatMap(answer) ?? .notFound).bytes[...]
        } else if input.count > Self.sizeLimit {
            output = ScrapeAnswer.tooLarge.bytes[...]
        } else {
            return .toRead
        }
        return send()
    }

    /// Where the empty line is.
    private static func headEnd(_ input: [UInt8]) -> Int? {
        guard input.count >= 4 else { return nil }
        return (0...input.count - 4).first { input[$0..<$0 + 4].elementsEqual([0x0d, 0x0a, 0x0d, 0x0a]) }
    }

    /// What a GET asks for, without a query; nil for anything else.
    private static func target(of head: ArraySlice<UInt8>) -> String? {
        let line = String(decoding: head.prefix { $0 != 0x0d }, as: UTF8.self)
        let words = line.split(separator: " ", omittingEmptySubsequences: false)
        guard words.count == 3, words[0] == "GET", words[2].hasPrefix("HTTP/1.") else { return nil }
        return String(words[1].prefix { $0 != "?" })
    }

    private func send() -> Wait {
        while !output.isEmpty {
            let sent = unsafe output.withUnsafeBytes {
                unsafe Glibc.send(descriptor.raw, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard sent > 0 else { return Errno.current == .again ? .toWrite : .nothing }
            output = output.dropFirst(sent)
        }
        _ = shutdown(descriptor.raw, Int32(SHUT_WR))
        return .nothing
    }
}
