import Addressing
import Directory
import Membership
import NIOCore
import RelayStream
import Sodium
import Synchronization
import Timing

@testable import Hub
@testable import Relay

extension TestHub {
    /// The relay's id, as members know it from the directory.
    var relayID: AgentID { get throws { try folder.relayID() } }

    /// A credential of the hub's authority, without a join.
    func credential(for identity: Identity, life: Int64 = 3600, now: WallTime = .now()) throws -> [UInt8] {
        let configuration = folder.configuration
        let authority = Authority(
            mesh: configuration.mesh, ranges: configuration.ranges, key: try folder.loadAuthorityKey(), lifetime: life)
        var random = SecureRandom()
        let number = UInt64.random(in: 1...UInt64(UInt32.max), using: &random)
        return Array(
            try authority.issue(
                name: "agent-\(number)", addresses: [Self.address(number)], identityKey: identity.publicKey, now: now,
                using: &random
            ).text.utf8)
    }

    func connector(_ port: UInt16, pin: Bytes32? = nil, proxy: HTTPProxy? = nil) -> RelayStreamConnector {
        RelayStreamConnector(
            to: HubAddress(host: "127.0.0.1", port: port)!, pin: pin ?? folder.pin, proxy: proxy, timeout: .seconds(10))
    }
}

/// A member at a relay, through one stream.
final class StreamMember: Sendable {
    private struct State {
        var client: RelayClient
        var connection: RelayStreamConnection?
        var inbox: [(source: AgentID, payload: [UInt8])] = []
        var events: [RelayClient.Event] = []
        var isClosed = false
        var lastProof: [UInt8]?
    }

    static let anywhere = Endpoint("127.0.0.1:1")!

    let identity: Identity
    private let state: Mutex<State>

    init(
        _ hub: TestHub, identity: Identity? = nil, relayID: AgentID? = nil, credential: [UInt8]? = nil
    ) throws {
        let identity = try identity ?? TestHub.identity()
        self.identity = identity
        let client = RelayClient(
            relay: Self.anywhere, relayID: try relayID ?? hub.relayID,
            identity: .init(key: identity.publicKey) { identity.sign($0) },
            credential: try credential ?? hub.credential(for: identity), now: .now())
        state = Mutex(State(client: client))
    }

    var id: AgentID { identity.id }
    var isUp: Bool { state.withLock { $0.client.isUp && !$0.isClosed } }
    var isClosed: Bool { state.withLock { $0.isClosed } }
    var events: [RelayClient.Event] { state.withLock { $0.events } }
    var inbox: [(source: AgentID, payload: [UInt8])] { state.withLock { $0.inbox } }
    /// The proof that it registered with.
    var lastProof: [UInt8]? { state.withLock { $0.lastProof } }
    var connection: RelayStreamConnection? { state.withLock { $0.connection } }

    /// Opens the stream; the registration goes on by itself.
    func open(_ connector: RelayStreamConnector, on loop: any EventLoop, from local: SocketAddress? = nil) async throws
    {
        let hello = state.withLock { state in
            var random = SecureRandom()
            return state.client.greet(now: .now(), using: &random)
        }
        let attempt = connector.connect(
            hello, on: loop, from: local, receive: { self.receive($0) },
            closed: { self.state.withLock { $0.isClosed = true } })
        // On the loop, before anything is received.
        let connection = try await attempt.connection.map { connection in
            self.state.withLock {
                $0.connection = connection
                $0.client.greeted(now: .now(), patience: .seconds(10))
            }
            return connection
        }.get()
        _ = connection
    }

    /// Opens the stream and waits until it is registered.
    func register(_ connector: RelayStreamConnector, on loop: any EventLoop) async throws {
        try await open(connector, on: loop)
        try await eventually { self.isUp }
    }

    private func receive(_ message: ByteBuffer) {
        var rest = message
        while let length = rest.readInteger(as: UInt16.self), let frame = rest.readBytes(length: Int(length)) {
            state.withLock { state in
                var random = SecureRandom()
                let received = unsafe state.client.receive(
                    frame.span.bytes, from: Self.anywhere, now: .now(), using: &random)
                switch received {
                case .data(let source, let range): state.inbox.append((source, Array(frame[range])))
                case .control(let step):
                    if let bytes = step.send {
                        if bytes.first == FrameType.proof.rawValue { state.lastProof = bytes }
                        state.connection?.send(frame: bytes)
                    }
                    if let event = step.event { state.events.append(event) }
                case .dropped: break
                }
            }
        }
    }

    func frame(to destination: AgentID, _ payload: [UInt8]) -> [UInt8] {
        let header = state.withLock { $0.client.wrapHeader(destination) }
        return header.map { header in header.indices.map { header[$0] } + payload } ?? []
    }

    func send(to destination: AgentID, _ payload: [UInt8]) {
        connection?.send(frame: frame(to: destination, payload), isControl: false)
    }

    func close() { connection?.close() }
}

struct Overdue: Error {}

/// Waits up to ten seconds for `condition`.
func eventually(_ seconds: Int = 10, _ condition: () throws -> Bool) async throws {
    for _ in 0..<(seconds * 200) {
        if try condition() { return }
        try await Task.sleep(nanoseconds: 5_000_000)
    }
    throw Overdue()
}
