import Addressing
import Linux
import STUN
import Synchronization
import Testing
import Timing
import Transport

@testable import Gather

/// A behaviour server on four sockets of the loopback interface, served by a thread until it goes.
private final class LoopbackServer: Sendable {
    let primary: Endpoint
    private let sockets: [SharedSocket]
    private let isEnding = Atomic(false)

    init() throws {
        let addresses = [IPAddress.v4(IPv4Address(127, 0, 0, 1)), .v4(IPv4Address(127, 0, 0, 2))]
        let first = try SharedSocket(UDPSocket(.ipv4, address: addresses[0]))
        let second = try SharedSocket(UDPSocket(.ipv4, address: addresses[0]))
        sockets = [
            first, second, try SharedSocket(UDPSocket(.ipv4, address: addresses[1], port: first.udp.port)),
            try SharedSocket(UDPSocket(.ipv4, address: addresses[1], port: second.udp.port)),
        ]
        primary = Endpoint(addresses[0], port: first.udp.port)
        let other = Endpoint(addresses[1], port: second.udp.port)
        var random = SystemRandomNumberGenerator()
        let server = try #require(
            BehaviorServer(primary: primary, other: other, now: .now(), using: &random))
        _ = try Thread(named: "stun-test") { [self] in serve(server) }
    }

    private func serve(_ server: BehaviorServer) {
        var server = server
        var buffer = [UInt8](repeating: 0, count: 2048)
        guard let epoll = try? Epoll() else { return }
        for (index, socket) in sockets.enumerated() {
            try? epoll.add(socket.udp.raw, .read, token: UInt64(index))
        }
        let sides = BehaviorServer.Side.allCases
        while !isEnding.load(ordering: .relaxed) {
            for event in (try? epoll.wait(timeout: .milliseconds(20))) ?? [] {
                let index = Int(event.token)
                guard
                    let (length, source) = unsafe buffer.withUnsafeMutableBytes({
                        unsafe sockets[index].udp.receive(into: $0)
                    }),
                    case .send(let bytes, let from, let to) = unsafe server.receive(
                        buffer.span.bytes.extracting(0..<length), at: sides[index], from: source, now: .now()),
                    let side = sides.firstIndex(of: from)
                else { continue }
                sockets[side].udp.send(bytes, to: to)
            }
        }
    }

    func stop() { isEnding.store(true, ordering: .relaxed) }
}

@Suite struct BehaviorProbeTests {
    @Test func `on the loopback interface there is no NAT and no filter`() throws {
        let server = try LoopbackServer()
        defer { server.stop() }
        let behavior = try BehaviorProbe.run(
            servers: [server.primary], hostAddresses: [.v4(IPv4Address(127, 0, 0, 1))])
        #expect(behavior.isTranslated == false)
        #expect(behavior.mapping == .endpointIndependent)
        #expect(behavior.filtering == .endpointIndependent)
        #expect(behavior.mapped.count == 1)
        #expect(behavior.samples.count == 5 + BehaviorProbe.sampleSockets)
    }

    @Test func `nobody answers: told as blocked, within a second and a bit`() throws {
        let silent = try UDPSocket(.ipv4, address: .v4(IPv4Address(127, 0, 0, 1)))
        let start = MonotonicTime.now()
        let behavior = try BehaviorProbe.run(
            servers: [Endpoint(.v4(IPv4Address(127, 0, 0, 1)), port: silent.port)], hostAddresses: [])
        #expect(behavior.isBlocked)
        #expect(MonotonicTime.now().since(start) < .seconds(3))
    }

    @Test func `without servers nothing is known`() throws {
        #expect(try BehaviorProbe.run(servers: [], hostAddresses: []) == BehaviorReport())
    }
}
