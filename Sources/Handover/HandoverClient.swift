import CLinux
import Glibc
import Linux
package import Tun

/// Gets the descriptor of the pod's TUN from the node's agent: for a process without `/dev/net/tun` and without any
/// capability. The other end is not trusted, only what it sends is, once it is proven.
package enum HandoverClient {
    /// How long the agent may take for each step.
    private static let seconds = 2

    /// Asks once.
    package static func receive(_ interface: String) throws(HandoverError) -> TunDevice {
        let name = HandoverAnswer.socketName(for: interface)
        let socket: PacketSocket
        do { socket = try PacketSocket.connect(to: name, seconds: seconds) } catch {
            throw error.errno == Errno(ECONNREFUSED) ? .absent(error) : .noAnswer("\(error)")
        }
        var received: PacketSocket.Received
        do { received = try socket.receive(limit: HandoverAnswer.limit) } catch { throw .noAnswer("\(error)") }
        guard !received.bytes.isEmpty else { throw .noAnswer("\(name) closed the connection") }
        guard let answer = HandoverAnswer(parsing: received.bytes) else { throw .noAnswer("\(name) speaks otherwise") }
        switch answer.status {
        case .refused: throw .refused(answer.reason)
        case .notNow: throw .notNow(answer.reason)
        case .granted: break
        }
        guard let descriptor = received.descriptor.take() else { throw .foreign("\(name) sent no descriptor") }
        guard isTunNode(descriptor) else { throw .foreign("\(name) sent another kind of descriptor") }
        let tun: TunDevice
        do { tun = try TunDevice(adopting: descriptor) } catch { throw .foreign("\(error)") }
        try CarrierProof.verify(tun, is: interface)
        return tun
    }

    /// It is an open `/dev/net/tun`, the character device 10:200 (devices.txt): a request to a file of another kind could
    /// do anything, or block.
    private static func isTunNode(_ descriptor: borrowing FileDescriptor) -> Bool {
        var status = stat()
        guard unsafe fstat(descriptor.raw, &status) == 0, status.st_mode & S_IFMT == S_IFCHR else { return false }
        return CLinux_major(status.st_rdev) == 10 && CLinux_minor(status.st_rdev) == 200
    }
}
