import Addressing
import STUN
import Sodium
import Testing
import Timing

@testable import Relay

@Suite struct RelayServerRegistrationTests {
    @Test func `hello, challenge, proof and accepted register a member at its endpoint`() throws {
        let bench = try Bench(seed: 1)
        let member = try bench.member()
        let source = bench.endpoint(5)
        let challenge = try bench.challenge(member.id, at: source, nonce: 77)
        #expect(challenge.nonce == 77)
        #expect(challenge.observed == source)
        #expect(bench.server.clientCount == 0)
        guard case .reply(let reply) = bench.receive(bench.proof(member, challenge).bytes, from: source) else {
            Issue.record("not accepted")
            return
        }
        let accepted = try unsafe Accepted(reply.span.bytes)
        #expect(accepted.agent == member.id)
        #expect(accepted.nonce == 77)
        #expect(accepted.observed == source)
        #expect(accepted.lifetime == 60)
        #expect(accepted.epoch != 0)
        #expect(bench.server.link(of: member.id)?.endpoint == source)
    }

    @Test func `a proof by another key than the id's is refused`() throws {
        let bench = try Bench(seed: 2)
        let (victim, attacker) = (try bench.member(), try bench.member())
        let source = bench.endpoint(66)
        let challenge = try bench.challenge(victim.id, at: source)
        // A member's own key and credential under another agent's id.
        var proof = bench.proof(attacker, challenge)
        proof.agent = victim.id
        #expect(bench.errorCode(bench.receive(proof.bytes, from: source)) == .refused)
        #expect(bench.server.counters[.foreignIdentity] == 1)
        // The victim's key, known to all, with a signature of the attacker's.
        var forged = bench.proof(victim, challenge)
        forged.signature = attacker.key.sign(
            Proof.signedBytes(relay: Bench.relayID, cookie: challenge.cookie, observed: source))
        #expect(bench.errorCode(bench.receive(forged.bytes, from: source)) == .refused)
        #expect(bench.server.counters[.badSignature] == 1)
        #expect(bench.server.clientCount == 0)
    }

    @Test func `a signature made for another relay is refused`() throws {
        let bench = try Bench(seed: 3)
        let member = try bench.member()
        let challenge = try bench.challenge(member.id, at: bench.endpoint(5))
        let proof = bench.proof(member, challenge, relay: AgentID(high: 8, low: 8))
        #expect(bench.errorCode(bench.receive(proof.bytes, from: bench.endpoint(5))) == .refused)
        #expect(bench.server.counters[.badSignature] == 1)
    }

    @Test func `a cookie of another relay, of another address and an expired one are refused`() throws {
        let (bench, other) = (try Bench(seed: 4), try Bench(seed: 5))
        let member = try bench.member()
        let source = bench.endpoint(5)
        let foreign = bench.proof(member, try other.challenge(member.id, at: source))
        #expect(bench.errorCode(bench.receive(foreign.bytes, from: source)) == .badCookie)

        let proof = bench.proof(member, try bench.challenge(member.id, at: source))
        for thief in [bench.endpoint(66), bench.endpoint(5, 40001)] {
            #expect(bench.errorCode(bench.receive(proof.bytes, from: thief)) == .badCookie)
        }
        #expect(bench.server.counters[.foreignCookie] == 3)

        bench.now = bench.now + .seconds(31)
        #expect(bench.errorCode(bench.receive(proof.bytes, from: source)) == .badCookie)
        #expect(bench.server.counters[.expiredCookie] == 1)
        #expect(bench.server.clientCount == 0)
    }

    @Test func `a signature over another endpoint than the relay sees is refused`() throws {
        let bench = try Bench(seed: 6)
        let member = try bench.member()
        let attacker = bench.endpoint(66)
        // The attacker fetches a cookie for its own endpoint and has the victim sign what it says it observed.
        var challenge = try bench.challenge(member.id, at: attacker)
        challenge.observed = bench.endpoint(5)
        let proof = bench.proof(member, challenge)
        #expect(bench.errorCode(bench.receive(proof.bytes, from: attacker)) == .refused)
        #expect(bench.server.counters[.badSignature] == 1)
    }

    @Test func `an expired, a forged and another member's credential are refused`() throws {
        let bench = try Bench(seed: 7)
        let (member, other) = (try bench.member(), try bench.member())
        let source = bench.endpoint(5)
        let expired = bench.proof(member, try bench.challenge(member.id, at: source), life: 0)
        #expect(bench.errorCode(bench.receive(expired.bytes, from: source)) == .refused)
        var forged = bench.proof(member, try bench.challenge(member.id, at: source))
        forged.credential[50] ^= 1
        #expect(bench.errorCode(bench.receive(forged.bytes, from: source)) == .refused)
        var borrowed = bench.proof(member, try bench.challenge(member.id, at: source))
        borrowed.credential = bench.credential(of: other)
        #expect(bench.errorCode(bench.receive(borrowed.bytes, from: source)) == .refused)
        #expect(bench.server.counters[.badCredential] == 3)
        #expect(bench.server.clientCount == 0)
    }

    @Test func `a newer registration replaces the older at once, and the old address is dead`() throws {
        let bench = try Bench(seed: 8)
        let (member, peer) = (try bench.member(), try bench.member())
        let (old, new) = (bench.endpoint(5), bench.endpoint(5, 40001))
        let peerEpoch = try bench.register(peer, at: bench.endpoint(9))
        let oldEpoch = try bench.register(member, at: old)
        bench.now = bench.now + .milliseconds(1)
        let newEpoch = try bench.register(member, at: new)
        #expect(newEpoch != oldEpoch)
        #expect(bench.server.link(of: member.id)?.endpoint == new)
        #expect(bench.server.clientCount == 2)
        #expect(
            bench.receive(bench.data(to: member.id, epoch: peerEpoch, [1]), from: bench.endpoint(9))
                == .forward(to: RelayLink(new)))
        let fromOld = bench.receive(bench.data(to: peer.id, epoch: oldEpoch, [1]), from: old)
        #expect(bench.errorCode(fromOld) == .notRegistered)
        // Back at the old address under a third epoch: what was under way from the first time is still refused.
        bench.now = bench.now + .milliseconds(1)
        try bench.register(member, at: old)
        _ = bench.receive(bench.data(to: peer.id, epoch: oldEpoch, [1]), from: old)
        #expect(bench.server.counters[.staleEpoch] == 1)
        #expect(bench.server.table.isConsistent)
    }

    @Test func `a captured proof can't move a registration back`() throws {
        let bench = try Bench(seed: 9)
        let member = try bench.member()
        let (old, new) = (bench.endpoint(5), bench.endpoint(6))
        let proof = bench.proof(member, try bench.challenge(member.id, at: old))
        _ = bench.receive(proof.bytes, from: old)
        bench.now = bench.now + .milliseconds(10)
        try bench.register(member, at: new)
        // The attacker forges the old source address, so that the cookie fits.
        #expect(bench.receive(proof.bytes, from: old) == .drop(.staleProof))
        #expect(bench.server.link(of: member.id)?.endpoint == new)
    }

    @Test func `an endpoint that another agent has proven since can't be taken back by a replay`() throws {
        let bench = try Bench(seed: 10)
        let (first, second) = (try bench.member(), try bench.member())
        let source = bench.endpoint(5)
        let proof = bench.proof(first, try bench.challenge(first.id, at: source))
        _ = bench.receive(proof.bytes, from: source)
        bench.now = bench.now + .milliseconds(10)
        try bench.register(second, at: source)
        #expect(bench.server.link(of: first.id)?.endpoint == nil)
        #expect(bench.receive(proof.bytes, from: source) == .drop(.staleProof))
        #expect(bench.server.link(of: second.id)?.endpoint == source)
        #expect(bench.server.table.isConsistent)
    }

    @Test func `the same proof twice has the same answer, and renewal from one endpoint keeps the epoch`() throws {
        let bench = try Bench(seed: 11)
        let member = try bench.member()
        let source = bench.endpoint(5)
        let proof = bench.proof(member, try bench.challenge(member.id, at: source))
        let first = bench.receive(proof.bytes, from: source)
        #expect(bench.receive(proof.bytes, from: source) == first)
        #expect(bench.server.counters.registrations == 1)
        guard case .reply(let reply) = first else { return }
        bench.now = bench.now + .seconds(20)
        #expect(try bench.register(member, at: source) == (try unsafe Accepted(reply.span.bytes).epoch))
        #expect(bench.server.counters.registrations == 2)
    }

    @Test func `a silent registration ends after its lifetime, and pings keep it`() throws {
        let bench = try Bench(seed: 12)
        let (silent, pinging) = (try bench.member(), try bench.member())
        try bench.register(silent, at: bench.endpoint(5))
        let epoch = try bench.register(pinging, at: bench.endpoint(6))
        bench.now = bench.now + .seconds(40)
        let ping = Ping(agent: pinging.id, epoch: epoch, nonce: 99)
        #expect(bench.receive(ping.bytes, from: bench.endpoint(6)) == .reply(ping.pongBytes))
        bench.now = bench.now + .seconds(21)
        // Ended already, even before the tick that frees its slot.
        let data = bench.data(to: silent.id, epoch: epoch, [1])
        #expect(bench.errorCode(bench.receive(data, from: bench.endpoint(6))) == .unknownDestination)
        bench.server.tick(now: bench.now, using: &bench.random)
        #expect(bench.server.clientCount == 1)
        #expect(bench.server.counters.expirations == 1)
        #expect(bench.server.link(of: silent.id)?.endpoint == nil)
        #expect(bench.server.table.isConsistent)
    }

    @Test func `a registration ends with its credential`() throws {
        let bench = try Bench(seed: 13)
        let member = try bench.member()
        let epoch = try bench.register(member, at: bench.endpoint(5), life: 10)
        bench.now = bench.now + .seconds(10)
        let ping = Ping(agent: member.id, epoch: epoch, nonce: 1)
        #expect(bench.errorCode(bench.receive(ping.bytes, from: bench.endpoint(5))) == .notRegistered)
    }

    @Test func `a full table refuses new members, not those it has`() throws {
        var configuration = RelayServer.Configuration()
        configuration.maximumClients = 2
        let bench = try Bench(seed: 14, configuration)
        let members = [try bench.member(), try bench.member(), try bench.member()]
        try bench.register(members[0], at: bench.endpoint(1))
        try bench.register(members[1], at: bench.endpoint(2))
        let proof = bench.proof(members[2], try bench.challenge(members[2].id, at: bench.endpoint(3)))
        #expect(bench.errorCode(bench.receive(proof.bytes, from: bench.endpoint(3))) == .busy)
        bench.now = bench.now + .seconds(1)
        try bench.register(members[0], at: bench.endpoint(4))
        #expect(bench.server.link(of: members[0].id)?.endpoint == bench.endpoint(4))
        #expect(bench.server.table.isConsistent)
    }

    @Test func `the table stays consistent over random registrations`() throws {
        var configuration = RelayServer.Configuration()
        configuration.maximumClients = 8
        let bench = try Bench(seed: 15, configuration)
        let members = try (0..<12).map { _ in try bench.member() }
        for _ in 0..<400 {
            bench.now = bench.now + .milliseconds(UInt64.random(in: 1...8000, using: &bench.random))
            let member = members[Int.random(in: members.indices, using: &bench.random)]
            let source = bench.endpoint(UInt8.random(in: 1...10, using: &bench.random))
            _ = try? bench.register(member, at: source)
            bench.server.tick(now: bench.now, using: &bench.random)
            try #require(bench.server.table.isConsistent)
        }
        #expect(bench.server.counters.expirations > 0)
    }
}
