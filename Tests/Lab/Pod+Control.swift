package import Control
import Foundation
import Linux

extension Pod {
    /// Asks the pod's sidecar one question over its local API, without starting a program for it.
    package func ask(_ request: ControlRequest) throws -> ControlAnswer {
        let socket = try UnixSocket.connect(path: controlPath)
        UnixSocket.setTimeout(socket, seconds: 5)
        try socket.writeAll(Array("\(request.line)\n".utf8))
        return try JSONDecoder().decode(ControlAnswer.self, from: Data(socket.readToEnd(limit: 8 << 20)))
    }
}
