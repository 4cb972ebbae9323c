import Addressing
import Sodium
import Testing
import Timing

@testable import Membership

@Suite struct BlockPlanTests {
    private static let mesh = IPPrefix("fd12:3456:789a::/48")!

    @Test func `a number gives the node's /64 and its part of the IPv4 range`() throws {
        let plan = try #require(BlockPlan(ranges: [Self.mesh, IPPrefix("10.9.0.0/16")!]))
        #expect(plan.last == 255)
        let block = try #require(plan.block(7))
        #expect(block.ipv6 == IPPrefix("fd12:3456:789a:7::/64"))
        #expect(block.ipv4 == IPPrefix("10.9.7.0/24"))
        #expect(block.contains(IPAddress("10.9.7.255")!) && block.contains(IPAddress("fd12:3456:789a:7::1")!))
        #expect(!block.contains(IPAddress("10.9.8.0")!) && !block.contains(IPAddress("fd12:3456:789a:8::1")!))
        #expect(plan.block(255)?.ipv4 == IPPrefix("10.9.255.0/24"))
        #expect(plan.block(0) == nil && plan.block(256) == nil)
    }

    @Test func `blocks never overlap and never leave the range`() throws {
        for text in ["10.0.0.0/8", "100.64.0.0/10", "10.9.0.0/16", "10.9.128.0/18", "192.168.5.0/24", "10.1.2.0/29"] {
            let range = try #require(IPPrefix(text))
            let plan = try #require(BlockPlan(ranges: [Self.mesh, range]))
            #expect(plan.last >= 1, "\(text)")
            var seen: Set<IPPrefix> = []
            for number in [1, 2, 3, plan.last / 2, plan.last - 1, plan.last] where number > 0 && number <= plan.last {
                let block = try #require(plan.block(number)?.ipv4, "\(text) \(number)")
                #expect(range.contains(block), "\(text) \(number) \(block)")
                seen.insert(block)
            }
            for one in seen { for other in seen where one != other { #expect(!one.contains(other.address)) } }
        }
    }

    @Test func `a mesh without IPv4 has 65,535 nodes`() throws {
        let plan = try #require(BlockPlan(ranges: [Self.mesh]))
        #expect(plan.last == 65535)
        #expect(plan.block(65535) == NodeBlock(number: 65535, ipv6: IPPrefix("fd12:3456:789a:ffff::/64")!, ipv4: nil))
    }

    @Test func `ranges that cannot be cut are refused`() {
        #expect(BlockPlan(ranges: []) == nil)
        #expect(BlockPlan(ranges: [IPPrefix("10.9.0.0/16")!]) == nil)
        #expect(BlockPlan(ranges: [IPPrefix("fd12:3456:789a:1::/64")!]) == nil)
        #expect(BlockPlan(ranges: [Self.mesh, IPPrefix("10.9.0.1/32")!]) == nil)
    }

    // MARK: Choosing

    private static let now = WallTime(seconds: 1_800_000_000)

    private static func key(_ byte: UInt8) -> Bytes32 { Bytes32([UInt8](repeating: byte, count: 32))! }

    private static func lease(_ byte: UInt8, _ number: UInt16, name: String? = nil, expires: Int64 = 100) -> NodeLease {
        NodeLease(
            identityKey: key(byte), name: name ?? "node-\(byte)", number: number,
            expires: WallTime(seconds: now.seconds + expires))
    }

    private static func choose(
        _ byte: UInt8, name: String? = nil, of leases: [NodeLease], ranges: [IPPrefix] = [mesh]
    ) throws(Refusal) -> UInt16 {
        let request = BlockRequest(identityKey: key(byte), name: name ?? "node-\(byte)", tokenHash: key(0))
        return try Authority.choose(for: request, of: leases, in: BlockPlan(ranges: ranges)!, now: now).number
    }

    @Test func `a node keeps its block, and a new one gets the lowest that is free`() throws {
        let leases = [Self.lease(1, 1), Self.lease(2, 2), Self.lease(4, 4)]
        #expect(try Self.choose(2, of: leases) == 2)
        #expect(try Self.choose(3, of: leases) == 3)
        #expect(try Self.choose(5, of: leases + [Self.lease(3, 3)]) == 5)
    }

    @Test func `a block is free only when its pods' credentials have ended too`() throws {
        let ended = -Credential.lifetime - Credential.leeway
        #expect(try Self.choose(2, of: [Self.lease(1, 1, expires: -1)]) == 2)
        #expect(try Self.choose(2, of: [Self.lease(1, 1, expires: ended + 1)]) == 2)
        #expect(try Self.choose(2, of: [Self.lease(1, 1, expires: ended)]) == 1)
    }

    @Test func `another's name and a full range are refused`() {
        #expect(throws: Refusal.nodeNameTaken("node-1")) {
            try Self.choose(2, name: "node-1", of: [Self.lease(1, 1)])
        }
        let full = (1...15).map { Self.lease(UInt8($0), UInt16($0)) }
        #expect(throws: Refusal.noBlockLeft) {
            try Self.choose(99, of: full, ranges: [Self.mesh, IPPrefix("10.9.0.0/24")!])
        }
    }
}
