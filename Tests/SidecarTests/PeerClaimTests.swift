import Addressing
import Membership
import Sodium
import Testing
import Timing

@testable import Sidecar

@Suite struct PeerClaimTests {
    let start = MonotonicTime.zero + .seconds(100)

    private func claim(
        _ seed: UInt8, address: Int? = nil, sequence: UInt64 = 1, key: UInt8? = nil, issued: Int64 = 0
    ) throws -> PeerClaim {
        let record = try Fixture.record(
            seed, address: address, sequence: sequence, key: key, issued: Fixture.later(issued))
        return PeerClaim(record, key: record.keys[0])
    }

    private func holder(_ claim: PeerClaim, isVerified: Bool = false, age: Interval = .seconds(60)) -> PeerClaim.Holder
    {
        PeerClaim.Holder(
            claim: claim, isVerified: isVerified,
            learned: MonotonicTime(nanoseconds: start.nanoseconds - age.nanoseconds))
    }

    @Test func `a stranger with an address and a key of its own is accepted`() throws {
        let verdict = try claim(1).judged(against: [holder(claim(2)), holder(claim(3))], now: start)
        #expect(verdict == .accepted(displacing: []))
    }

    @Test func `the same or an older announcement of a peer says nothing new`() throws {
        let known = [holder(try claim(1, sequence: 5))]
        #expect(try claim(1, sequence: 5).judged(against: known, now: start) == .known)
        #expect(try claim(1, sequence: 4, key: 9, issued: 60).judged(against: known, now: start) == .known)
        #expect(try claim(1, sequence: 6).judged(against: known, now: start) == .accepted(displacing: []))
    }

    @Test func `a renewed credential is taken over with the announcement that is known`() throws {
        let known = [holder(try claim(1, sequence: 5))]
        #expect(try claim(1, sequence: 5, issued: 60).judged(against: known, now: start) == .accepted(displacing: []))
    }

    @Test func `a newer announcement does not bring an older credential back`() throws {
        let known = [holder(try claim(1, address: 1, sequence: 5, issued: 600))]
        let old = try claim(1, address: 2, sequence: 6)
        #expect(old.judged(against: known, now: start) == .refused(.outdatedCredential))
    }

    @Test func `the newer credential has the address, whoever comes first`() throws {
        let (older, newer) = (try claim(1, address: 7), try claim(2, address: 7, issued: 60))
        #expect(
            newer.judged(against: [holder(older, isVerified: true)], now: start) == .accepted(displacing: [older.id]))
        #expect(older.judged(against: [holder(newer)], now: start) == .refused(.address))
    }

    @Test func `a peer that is known can't take another's address by an older credential`() throws {
        // It had address 7 once, gave it up, and shows the credential from then with a new announcement.
        let other = try claim(2, address: 7, issued: 60)
        let known = try claim(1, address: 7, sequence: 1)
        let again = try claim(1, address: 7, sequence: 2)
        #expect(again.judged(against: [holder(known), holder(other)], now: start) == .refused(.address))
    }

    @Test func `a key that a handshake proved stays with its agent`() throws {
        let owner = holder(try claim(2, key: 9), isVerified: true)
        #expect(try claim(1, key: 9).judged(against: [owner], now: start) == .refused(.key))
    }

    @Test func `a key that nobody proved blocks its owner for a few seconds at most`() throws {
        let thief = try claim(1, key: 9)
        let owner = try claim(2, key: 9)
        #expect(owner.judged(against: [holder(thief, age: .seconds(1))], now: start) == .refused(.key))
        #expect(
            owner.judged(against: [holder(thief, age: .seconds(5))], now: start) == .accepted(displacing: [thief.id]))
    }

    @Test func `both ends derive one binding, and other pairs another`() throws {
        let (a, b, c) = (AgentID(high: 1, low: 2), AgentID(high: 3, low: 4), AgentID(high: 5, low: 6))
        try Libsodium.initialize()
        let bindings = try [(a, b), (b, a), (a, c), (b, c)].map { try PeerClaim.binding($0, $1).exportBytes() }
        #expect(bindings[0] == bindings[1])
        #expect(Set(bindings).count == 3)
    }
}

@Suite struct RecordLifeTests {
    @Test func `a record ends with the first of its parts to end, and a minute of leeway`() throws {
        let record = try Fixture.record(1, keyExpires: 3600)
        let key = record.keys[0]
        #expect(record.end(ofKey: key) == Fixture.later(3600))
        #expect(!record.isExpired(key: key, at: Fixture.later(3659)))
        #expect(record.isExpired(key: key, at: Fixture.later(3660)))
    }

    @Test func `a newer record is asked for in the last quarter`() throws {
        let record = try Fixture.record(1)
        let key = record.keys[0]
        #expect(!record.isDueForRefresh(key: key, at: Fixture.later(64799)))
        #expect(record.isDueForRefresh(key: key, at: Fixture.later(64800)))
    }
}
