import Linux
import Timing

/// A client's TCP connection: queries one after the other, each after its length (RFC 7766).
final class StreamClient {
    static let idleTime = Interval.seconds(10)
    static let pipelineLimit = 16
    static let queryLimit = 4096
    /// What may wait for a client that does not read.
    static let outputLimit = 256 * 1024

    let socket: FileDescriptor
    private(set) var lastProgress: MonotonicTime
    private(set) var hasEnded = false
    private var input: [UInt8] = []
    private var output: [UInt8] = []
    private var inFlight = 0

    init(_ socket: consuming FileDescriptor, now: MonotonicTime) {
        self.socket = socket
        lastProgress = now
    }

    /// Nothing more is to come or to go.
    var isDone: Bool { hasEnded && inFlight == 0 && output.isEmpty }

    var interest: Epoll.Interest {
        let canTake = !hasEnded && inFlight < Self.pipelineLimit && output.isEmpty
        var interest: Epoll.Interest = canTake ? .read : []
        if !output.isEmpty { interest.insert(.write) }
        return interest
    }

    /// Takes in what came; an empty one is the end.
    func append(_ bytes: [UInt8]) {
        if bytes.isEmpty { hasEnded = true }
        input += bytes
    }

    /// The next whole query, while there may be one more.
    func next(now: MonotonicTime) throws(StreamFault) -> [UInt8]? {
        guard inFlight < Self.pipelineLimit, input.count >= 2 else { return nil }
        let length = Int(input[0]) << 8 | Int(input[1])
        guard (12...Self.queryLimit).contains(length) else { throw StreamFault() }
        guard input.count >= 2 + length else { return nil }
        let query = Array(input[2..<(2 + length)])
        input.removeFirst(2 + length)
        inFlight += 1
        lastProgress = now
        return query
    }

    /// A query that gets no answer.
    func skipAnswer() { inFlight -= 1 }

    func answer(_ bytes: [UInt8], now: MonotonicTime) throws(StreamFault) {
        inFlight -= 1
        lastProgress = now
        guard output.count + bytes.count <= Self.outputLimit else { throw StreamFault() }
        output += [UInt8(bytes.count >> 8), UInt8(bytes.count & 255)]
        output += bytes
        try flush()
    }

    func flush() throws(StreamFault) {
        while !output.isEmpty {
            switch InternetSocket.write(output[...], on: socket.raw) {
            case .success(let count): output.removeFirst(count)
            case .failure(.again), .failure(.interrupted): return
            case .failure: throw StreamFault()
            }
        }
    }
}

/// The connection is of no use any more.
struct StreamFault: Error {}
