import Addressing
@testable import Directory
import Glibc
import Membership
import Sodium
import Synchronization
import TestSupport
import Testing
import Timing

@testable import BlockLeasing

/// What a node does with its lease, on virtual time.
@Suite struct LeaseKeeperTests {
    private let folder: ScratchFolder

    init() throws {
        try Libsodium.initialize()
        folder = try ScratchFolder()
    }

    private var path: String { folder.path + "/var/node" }

    private func keeper(
        _ authority: ScriptedAuthority, node: String = "node-1", _ time: VirtualTime = VirtualTime(),
        log: @escaping @Sendable (String) -> Void = { _ in }
    ) throws -> LeaseKeeper {
        try LeaseKeeper(LeaseFolder(path: path), authority, node: node, clock: time.clock, log: log)
    }

    private func mode(_ path: String) -> UInt32 {
        var status = stat()
        return unsafe stat(path, &status) == 0 ? status.st_mode & 0o777 : 0
    }

    /// Every change that `keep` tells of, in `sleeps` rounds.
    private func changes(
        _ authority: ScriptedAuthority, _ begun: HeldBlock, sleeps: Int, at now: Int64 = ScriptedAuthority.start
    ) async throws -> (changes: [HeldBlock], sleeps: [Int64]) {
        let time = VirtualTime(at: now, sleeps: sleeps)
        let all = Mutex<[HeldBlock]>([])
        await (try keeper(authority, time)).keep(begun) { held in all.withLock { $0.append(held) } }
        return (all.withLock { $0 }, time.sleeps)
    }

    @Test func `the first run leases, and the next one begins with it whether or not the hub is there`() async throws {
        let first = try keeper(ScriptedAuthority([ScriptedAuthority.block(7)]))
        let held = try await first.begin()
        #expect(held.block.number == 7 && held.mesh == IPPrefix("fd12:3456:789a::/48"))
        #expect(held.block.ipv4 == IPPrefix("100.64.7.0/24"))
        #expect(mode(path) == 0o700)
        for file in ["identity.key", "lease.json"] { #expect(mode("\(path)/\(file)") == 0o600, "\(file)") }
        let identity = folder.read("var/node/identity.key")
        let away = ScriptedAuthority([.failure(ScriptedAuthority.away)])
        #expect(try await keeper(away).begin() == held)
        #expect(away.asked == 0)
        #expect(folder.read("var/node/identity.key") == identity)
        // Without its token it does not even know which hub it is.
        let lost = ScriptedAuthority(
            [.failure(ScriptedAuthority.away)], name: .failure(.credential("read the node's join token: gone")))
        #expect(try await keeper(lost).begin() == held)
    }

    @Test func `without a block it waits for a hub that is away, for a while, and then says so once`() async throws {
        let (away, time) = (ScriptedAuthority([.failure(ScriptedAuthority.away)]), VirtualTime())
        let error = await #expect(throws: LeaseError.self) { _ = try await keeper(away, time).begin(patience: 30) }
        #expect(error == ScriptedAuthority.away && away.asked > 2)
        #expect(time.sleeps.reduce(0, +) <= 30)
        let late = ScriptedAuthority([.failure(ScriptedAuthority.away), ScriptedAuthority.block(3)])
        #expect(try await keeper(late).begin().block.number == 3)
        #expect(late.asked == 2)
    }

    @Test(arguments: [
        ScriptedAuthority.refusal, .hub(.wrongPin(HubAddress(host: "h", port: 1)!)), .credential("no token"),
    ])
    func `what would be answered again is asked once`(fault: LeaseError) async throws {
        let authority = ScriptedAuthority([.failure(fault)])
        let error = await #expect(throws: LeaseError.self) { _ = try await keeper(authority).begin() }
        #expect(error == fault && authority.asked == 1)
        #expect(folder.read("var/node/lease.json") == nil)
    }

    @Test func `a lease of another node, of another mesh, or that has ended, is none`() async throws {
        _ = try await keeper(ScriptedAuthority([ScriptedAuthority.block(7, until: 1000)])).begin()
        let other = ScriptedAuthority([ScriptedAuthority.block(8, until: 1000)])
        #expect(try await keeper(other, node: "node-2").begin().block.number == 8)
        let mesh = ScriptedAuthority(
            [ScriptedAuthority.block(9, until: 1000)], name: .success(ScriptedAuthority.mesh("other")))
        #expect(try await keeper(mesh, node: "node-2").begin().block.number == 9)
        let late = ScriptedAuthority([.failure(ScriptedAuthority.refusal)])
        await #expect(throws: LeaseError.self) {
            try await keeper(late, node: "node-2", VirtualTime(at: ScriptedAuthority.start + 1000)).begin()
        }
        // Half a file, as no crash of ours leaves it, is none either.
        try folder.write(#"{"mesh":"demo","#, to: "var/node/lease.json")
        let again = ScriptedAuthority([ScriptedAuthority.block(10)])
        #expect(try await keeper(again).begin().block.number == 10)
    }

    @Test func `a lease is renewed at half of its life, one of a former run at once`() async throws {
        let lifetime = NodeLease.lifetime
        let authority = ScriptedAuthority([
            ScriptedAuthority.block(7), ScriptedAuthority.block(7, until: lifetime * 2),
        ])
        let time = VirtualTime(sleeps: 1)
        let first = try keeper(authority, time)
        let begun = try await first.begin()
        let renewed = Mutex<[HeldBlock]>([])
        await first.keep(begun) { held in renewed.withLock { $0.append(held) } }
        #expect((lifetime * 45 / 100...lifetime * 55 / 100).contains(try #require(time.sleeps.first)))
        let last = try #require(renewed.withLock { $0.first })
        #expect(last.expires.seconds == ScriptedAuthority.start + lifetime * 2)
        // The next run has the renewed one.
        let next = try await keeper(ScriptedAuthority([.failure(ScriptedAuthority.away)])).begin()
        #expect(next == last)
        let old = try await changes(authority, next, sleeps: 1, at: ScriptedAuthority.start + 3600)
        #expect(old.sleeps == [0] && old.changes.count == 1)
    }

    @Test func `while the hub is away the block stays, and it is asked ever more seldom`() async throws {
        let begun = try await keeper(ScriptedAuthority([ScriptedAuthority.block(7)])).begin()
        let away = ScriptedAuthority([.failure(ScriptedAuthority.away)])
        let (changes, sleeps) = try await changes(away, begun, sleeps: 12)
        #expect(changes.isEmpty && away.asked == 12)
        for (index, delay) in sleeps.dropFirst().enumerated() {
            let ceiling = min(5 << Int64(index), RenewalSchedule.limit)
            #expect(((ceiling + 1) / 2...ceiling).contains(delay), "\(sleeps)")
        }
        #expect(try await keeper(away).begin() == begun)
    }

    @Test func `a block that the hub has given up is used no more, until there is another`() async throws {
        let begun = try await keeper(ScriptedAuthority([ScriptedAuthority.block(7)])).begin()
        let authority = ScriptedAuthority([
            .failure(ScriptedAuthority.refusal), .failure(ScriptedAuthority.refusal),
            ScriptedAuthority.block(9, until: NodeLease.lifetime * 2),
        ])
        let (changes, sleeps) = try await changes(authority, begun, sleeps: 3)
        #expect(changes.map(\.block.number) == [7, 9])
        #expect(changes.first?.expires.seconds == ScriptedAuthority.start + sleeps[0])
        #expect(changes.last?.expires.seconds == ScriptedAuthority.start + NodeLease.lifetime * 2)
    }

    @Test func `after a refusal the next run does not begin with the block`() async throws {
        let begun = try await keeper(ScriptedAuthority([ScriptedAuthority.block(7)])).begin()
        _ = try await changes(ScriptedAuthority([.failure(ScriptedAuthority.refusal)]), begun, sleeps: 1)
        let next = ScriptedAuthority([.failure(ScriptedAuthority.refusal)])
        let later = VirtualTime(at: ScriptedAuthority.start + NodeLease.lifetime * 56 / 100)
        await #expect(throws: LeaseError.self) { try await keeper(next, later).begin() }
        #expect(next.asked == 1)
    }

    @Test(arguments: [
        (7, "fd12:3456:789a:8::/64", "100.64.7.0/24"), (0, "fd12:3456:789a::/64", "100.64.0.0/24"),
        (7, "fd12:3456:789a:7::/48", "100.64.7.0/24"), (7, "fd12:3456:789a:7::1/64", "100.64.7.0/24"),
        (7, "fd12:3456:789a:7::/64", "100.64.7.1/24"), (7, "fd12:3456:789a:7::/64", "100.64.7.0/32"),
        (7, "fd12:3456:789a:7::/64", "fd00::/24"), (7, "100.64.7.0/24", "100.64.7.0/24"),
    ])
    func `what is no block is not taken for one`(number: UInt16, ipv6: String, ipv4: String) async throws {
        let block = NodeBlock(
            number: number, ipv6: try #require(IPPrefix(ipv6)), ipv4: IPPrefix(ipv4))
        let leased = AuthorityClient.Leased(block: block, expires: WallTime(seconds: ScriptedAuthority.start + 1000))
        let error = await #expect(throws: LeaseError.self) {
            _ = try await keeper(ScriptedAuthority([.success(leased)])).begin()
        }
        #expect(error?.description.hasPrefix("lease an address block: the hub's answer") == true)
        #expect(folder.read("var/node/lease.json") == nil)
    }

    @Test func `a folder that others can enter, and a damaged key, are refused`() throws {
        try folder.makeFolder("open")
        #expect(throws: LeaseError.self) { _ = try LeaseFolder(path: folder.path + "/open") }
        _ = try keeper(ScriptedAuthority([ScriptedAuthority.block(1)]))
        try folder.write("short", to: "var/node/identity.key", mode: 0o600)
        let error = #expect(throws: LeaseError.self) { _ = try keeper(ScriptedAuthority([ScriptedAuthority.block(1)])) }
        #expect(error?.description.contains("5 bytes, expected 32") == true)
    }
}
