import Addressing
import Glibc
import Linux
import Membership
import Sodium
import Timing
import Transport

@testable import Hub
@testable import Relay

/// A member at a relay, through a UDP socket of its own on loopback. One thread.
final class DatagramMember {
    let identity: Identity
    let relay: Endpoint
    let socket: UDPSocket
    private(set) var client: RelayClient
    private(set) var inbox: [(source: AgentID, payload: [UInt8])] = []
    private var random = SecureRandom()
    private var buffer = [UInt8](repeating: 0, count: 65536)

    init(_ hub: TestHub, at port: UInt16, from local: IPAddress = .v4(IPv4Address(127, 0, 0, 1))) throws {
        let identity = try TestHub.identity()
        self.identity = identity
        relay = Endpoint(.v4(IPv4Address(127, 0, 0, 1)), port: port)
        socket = try UDPSocket(.ipv4, address: local)
        client = RelayClient(
            relay: relay, relayID: try hub.relayID, identity: .init(key: identity.publicKey) { identity.sign($0) },
            credential: try hub.credential(for: identity), now: .now())
    }

    var id: AgentID { identity.id }

    /// Sends what is due and takes what came.
    func turn() {
        while let step = client.poll(now: .now(), using: &random) { perform(step) }
        while true {
            let received = unsafe buffer.withUnsafeMutableBytes { unsafe socket.receive(into: $0) }
            guard let (length, source) = received else { return }
            let frame = Array(buffer[..<length])
            let result = unsafe client.receive(frame.span.bytes, from: source, now: .now(), using: &random)
            switch result {
            case .data(let source, let range): inbox.append((source, Array(frame[range])))
            case .control(let step): perform(step)
            case .dropped: break
            }
        }
    }

    private func perform(_ step: RelayClient.Step) {
        if let bytes = step.send { socket.send(bytes, to: relay) }
    }

    func register() async throws {
        try await eventually {
            turn()
            return client.isUp
        }
    }

    func send(to destination: AgentID, _ payload: [UInt8]) {
        guard let header = client.wrapHeader(destination) else { return }
        socket.send(header.indices.map { header[$0] } + payload, to: relay)
    }

    /// Waits for the next payload.
    func next() async throws -> (source: AgentID, payload: [UInt8]) {
        try await eventually {
            turn()
            return !inbox.isEmpty
        }
        return inbox.removeFirst()
    }
}
