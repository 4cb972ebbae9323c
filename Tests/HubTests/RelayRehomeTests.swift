import Addressing
import Directory
import Membership
import NIOCore
import RelayStream
import Sodium
import Synchronization
import Testing
import Timing

@testable import Hub
@testable import Relay

/// Members at two relays, of which the first ends: suddenly, or as it should.
@Suite(.timeLimit(.minutes(2)), .serialized) struct RelayRehomeTests {
    static let members = 150

    /// Where each member is at home, and when it was without.
    final class Watch: Sendable {
        private let homes = Mutex([Int: [Int]]())
        private let homeless = Mutex(0)

        func note(_ member: Int, _ now: [Int]) {
            homes.withLock { $0[member] = now }
            if now.isEmpty { homeless.withLock { $0 += 1 } }
        }

        func count(at relay: Int) -> Int { homes.withLock { $0.values.count { $0.first == relay } } }
        var withTwo: Int { homes.withLock { $0.values.count { $0.count == 2 } } }
        /// How often a member had no home for a moment.
        var losses: Int { homeless.withLock { $0 } }
    }

    private func agents(_ hub: TestHub, _ ports: [UInt16], warm: Int, _ watch: Watch) throws -> [StreamAgent] {
        let targets = try ports.map { _ in
            RelayHomes.Target(id: try hub.relayID, endpoint: StreamMember.anywhere, transports: [.tls])
        }
        let connectors = ports.map { RelayStreams.Connectors(tls: hub.connector($0)) }
        var configuration = RelayHomes.Configuration()
        configuration.warm = warm
        configuration.preference = .seconds(20)
        configuration.grace = .seconds(20)
        return try (0..<Self.members).map { number in
            let identity = try TestHub.identity()
            return StreamAgent(
                targets, connectors: connectors, identity: .init(key: identity.publicKey) { identity.sign($0) },
                credential: try hub.credential(for: identity), configuration, on: HubLink.group.next(),
                changed: { watch.note(number, $0) })
        }
    }

    @Test func `when a relay is gone, all its members are at the next within seconds`() async throws {
        try await TestHub.with { hub in
            try await hub.servingRelay { (second: HubServer) in
                let watch = Watch()
                let agents = try await hub.servingRelay { (first: HubServer) in
                    let agents = try self.agents(hub, [first.port, second.port], warm: 1, watch)
                    for agent in agents { agent.start() }
                    try await eventually(30) { watch.count(at: 0) == Self.members }
                    return agents
                }
                let start = MonotonicTime.now()
                try await eventually(15) { watch.count(at: 1) == Self.members }
                print(
                    "relay: \(Self.members) members at home again \(MonotonicTime.now().since(start).seconds) s after "
                        + "their relay was gone")
                #expect(second.registeredAgents == Self.members)
                for agent in agents { agent.stop() }
            }
        }
    }

    @Test func `a relay that drains loses its members one by one, and none is without a home`() async throws {
        try await TestHub.with { hub in
            try await hub.servingRelay { (second: HubServer) in
                let watch = Watch()
                let agents = try await hub.servingRelay(changing: { $0.relayDrain = .seconds(3) }) {
                    (first: HubServer) in
                    let agents = try self.agents(hub, [first.port, second.port], warm: 2, watch)
                    for agent in agents { agent.start() }
                    try await eventually(30) { watch.count(at: 0) == Self.members && watch.withTwo == Self.members }
                    return agents
                }
                try await eventually(5) { watch.count(at: 1) == Self.members }
                #expect(watch.losses == 0)
                for agent in agents { agent.stop() }
            }
        }
    }
}
