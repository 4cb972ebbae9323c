package import Addressing
import Glibc
package import Logging
import NIOCore
import NIOPosix
package import Sodium
import Synchronization

/// The relay's role, with STUN on the same UDP port.
///
/// This is where the socket meets the state machines of `Relay` and `STUN`: `answer` is given each datagram and returns what
/// to send. It holds the relay's own key and no other.
package final class RelayService: Sendable {
    /// The largest datagram that is taken: what fits one UDP datagram over Ethernet.
    static let sizeLimit = 2048

    private let key: Ed25519.PrivateKey
    private let logger: Logger
    private let dropped = Atomic<UInt64>(0)

    /// - Parameter key: `HubFolder.loadRelayKey`; its id is what agents know the relay by.
    package init(key: consuming Ed25519.PrivateKey, logger: Logger) {
        self.key = key
        self.logger = logger
    }

    package var id: AgentID { AgentID(identityKey: key.publicKey) }

    /// Datagrams that were dropped.
    package var droppedDatagrams: UInt64 { dropped.load(ordering: .relaxed) }

    /// Takes one datagram in and returns what to send, and where. Nothing is answered or forwarded yet: every datagram is
    /// dropped and counted.
    private func answer(_ datagram: [UInt8], from source: Endpoint) -> [(to: Endpoint, datagram: [UInt8])] {
        dropped.add(1, ordering: .relaxed)
        return []
    }

    typealias Socket = NIOAsyncChannel<AddressedEnvelope<ByteBuffer>, AddressedEnvelope<ByteBuffer>>

    func bind(_ endpoint: Endpoint, group: any EventLoopGroup) async throws(HubError) -> Socket {
        do {
            return try await DatagramBootstrap(group: group)
                .channelOption(.recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: Self.sizeLimit))
                .bind(host: endpoint.address.description, port: Int(endpoint.port)) { channel in
                    channel.eventLoop.makeCompletedFuture { try NIOAsyncChannel(wrappingChannelSynchronously: channel) }
                }
        } catch let error as IOError where error.errnoCode == EADDRINUSE {
            throw .portTaken("\(endpoint) (UDP)")
        } catch { throw .listen("\(endpoint) (UDP)", reason: "\(error)") }
    }

    /// Serves until the task is cancelled.
    func run(_ socket: Socket) async throws {
        try await socket.executeThenClose { inbound, outbound in
            for try await envelope in inbound {
                guard let address = envelope.remoteAddress.ipAddress.flatMap({ IPAddress($0) }),
                    let port = envelope.remoteAddress.port.flatMap({ UInt16(exactly: $0) })
                else { continue }
                for (to, datagram) in answer(
                    Array(envelope.data.readableBytesView), from: Endpoint(address, port: port))
                {
                    let remote = try SocketAddress(ipAddress: to.address.description, port: Int(to.port))
                    try await outbound.write(
                        AddressedEnvelope(remoteAddress: remote, data: ByteBuffer(bytes: datagram)))
                }
            }
        }
    }
}
