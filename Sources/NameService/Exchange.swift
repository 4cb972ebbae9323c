import Addressing
import Linux

/// One question to one server, on a socket of its own.
final class Exchange {
    enum Progress {
        case waiting
        case message([UInt8])
        case failed
    }

    let socket: FileDescriptor
    private let isStream: Bool
    private var output: [UInt8]
    private var input: [UInt8] = []

    init(_ query: [UInt8], to server: Endpoint, overTCP: Bool) throws(SystemError) {
        socket = try InternetSocket.connected(overTCP ? .tcp : .udp, to: server)
        isStream = overTCP
        output = overTCP ? [UInt8(query.count >> 8), UInt8(query.count & 255)] + query : []
        if !overTCP, let errno = InternetSocket.send(query, on: socket.raw) {
            throw SystemError("send to \(server)", errno)
        }
    }

    var interest: Epoll.Interest { output.isEmpty ? .read : .write }

    func proceed(_ buffer: ReceiveBuffer) -> Progress {
        guard isStream else { return receiveDatagram(buffer) }
        while !output.isEmpty {
            switch InternetSocket.write(output[...], on: socket.raw) {
            case .success(let count): output.removeFirst(count)
            case .failure(.again), .failure(.interrupted): return .waiting
            case .failure: return .failed
            }
        }
        switch buffer.receive(socket.raw) {
        case .success((let bytes, _)):
            if bytes.isEmpty { return .failed }
            input += bytes
        case .failure(.again), .failure(.interrupted): return .waiting
        case .failure: return .failed
        }
        guard input.count >= 2 else { return .waiting }
        let length = Int(input[0]) << 8 | Int(input[1])
        return input.count < 2 + length ? .waiting : .message(Array(input[2..<(2 + length)]))
    }

    private func receiveDatagram(_ buffer: ReceiveBuffer) -> Progress {
        switch buffer.receive(socket.raw) {
        case .success((let bytes, _)): .message(bytes)
        case .failure(.again), .failure(.interrupted): .waiting
        // ECONNREFUSED: nobody is there (ICMP).
        case .failure: .failed
        }
    }
}
