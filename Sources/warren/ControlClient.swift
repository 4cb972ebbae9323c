import Control
import FoundationEssentials
import Linux

/// Asks a sidecar's local API one question: a line out, one JSON object back, over a Unix socket. Blocks for at most 10 s.
struct ControlClient {
    enum Failure: Error, CustomStringConvertible {
        case unreachable(SystemError)
        case malformedAnswer(path: String)

        var description: String {
            switch self {
            case .unreachable(let error):
                "ask the sidecar: \(error); is warrend running, and is --control the path that it was given?"
            case .malformedAnswer(let path): "ask the sidecar: \(path) gave no valid answer"
            }
        }
    }

    private let path: String

    init(path: String) { self.path = path }

    func ask(_ request: ControlRequest) throws(Failure) -> ControlAnswer {
        let bytes: [UInt8]
        do {
            let socket = try UnixSocket.connect(path: path)
            UnixSocket.setTimeout(socket, seconds: 10)
            try socket.writeAll(Array("\(request.line)\n".utf8))
            bytes = try socket.readToEnd(limit: 8 << 20)
        } catch { throw .unreachable(error) }
        guard let answer = try? JSONDecoder().decode(ControlAnswer.self, from: Data(bytes)) else {
            throw .malformedAnswer(path: path)
        }
        return answer
    }
}
