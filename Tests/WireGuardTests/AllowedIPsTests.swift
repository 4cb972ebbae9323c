import Addressing
import TestSupport
import Testing
import WireGuard

@Suite struct AllowedIPsTests {
    @Test func `the longest prefix wins`() throws {
        var table = AllowedIPs()
        for (owner, text) in [
            "0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "::/0", "fd00::/8", "fd00::1/128",
        ]
        .enumerated() {
            table.insert(try prefix(text), for: owner)
        }
        let expected = [
            ("192.0.2.1", 0), ("10.9.9.9", 1), ("10.1.9.9", 2), ("10.1.2.3", 3), ("10.1.2.2", 2), ("2001:db8::1", 4),
            ("fd00::2", 5), ("fd00::1", 6),
        ]
        for (text, owner) in expected { #expect(table.owner(of: try address(text)) == owner, "\(text)") }
    }

    @Test func `an empty table and a miss have no owner`() throws {
        var table = AllowedIPs()
        #expect(table.owner(of: try address("10.0.0.1")) == nil)
        table.insert(try prefix("10.0.0.0/24"), for: 0)
        #expect(table.owner(of: try address("10.0.1.0")) == nil)
        #expect(table.owner(of: try address("::")) == nil)
        #expect(table.prefixes(of: 7).isEmpty)
    }

    @Test func `host bits are ignored`() throws {
        var table = AllowedIPs()
        table.insert(try prefix("10.1.2.3/8"), for: 3)
        #expect(table.owner(of: try address("10.200.0.1")) == 3)
        #expect(table.prefixes(of: 3) == [try prefix("10.0.0.0/8")])
    }

    @Test func `a prefix moves to who asked last`() throws {
        var table = AllowedIPs()
        table.insert(try prefix("10.0.0.0/24"), for: 0)
        table.insert(try prefix("10.0.0.0/24"), for: 1)
        #expect(table.owner(of: try address("10.0.0.9")) == 1)
        #expect(table.prefixes(of: 0).isEmpty)
        table.removeAll(of: 0)
        #expect(table.owner(of: try address("10.0.0.9")) == 1)
        #expect(table.count == 1)
    }

    @Test func `taking all from one owner uncovers what is shorter, and frees the nodes`() throws {
        var table = AllowedIPs()
        table.insert(try prefix("10.0.0.0/8"), for: 0)
        for number in 0..<100 { table.insert(try prefix("10.\(number).0.0/16"), for: 1) }
        table.removeAll(of: 1)
        #expect(table.owner(of: try address("10.50.1.1")) == 0)
        #expect(table.nodeCount == 1)
        table.removeAll(of: 0)
        #expect(table.nodeCount == 0 && table.count == 0)
    }

    /// The same table as a list that is searched from end to end.
    private struct Model {
        var owners: [IPPrefix: Int] = [:]

        func owner(of address: IPAddress) -> Int? {
            owners.filter { $0.key.contains(address) }.max { $0.key.length < $1.key.length }?.value
        }
    }

    private func randomAddress(_ random: inout SeededRandom) -> IPAddress {
        // Few distinct bits, so that prefixes nest and fork.
        let pattern = UInt64.random(in: 0..<16, using: &random)
        if Bool.random(using: &random) {
            return .v4(IPv4Address(value: UInt32(pattern << 28) | .random(in: 0..<4, using: &random)))
        }
        return .v6(
            IPv6Address(
                high: pattern << 60 | .random(in: 0..<2, using: &random),
                low: UInt64.random(in: 0..<4, using: &random) << 62 | .random(in: 0..<4, using: &random)))
    }

    @Test(arguments: 0..<30) func `it agrees with a list that is searched from end to end`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        var table = AllowedIPs()
        var model = Model()
        for step in 0..<300 {
            if Int.random(in: 0..<20, using: &random) == 0 {
                let owner = Int.random(in: 0..<6, using: &random)
                table.removeAll(of: owner)
                model.owners = model.owners.filter { $0.value != owner }
            } else {
                let address = randomAddress(&random)
                let length = Int.random(in: 0...address.bitWidth, using: &random)
                let prefix = try #require(IPPrefix(address, length: length))
                let owner = Int.random(in: 0..<6, using: &random)
                table.insert(prefix, for: owner)
                model.owners[prefix.masked] = owner
            }
            for _ in 0..<5 {
                let address = randomAddress(&random)
                #expect(table.owner(of: address) == model.owner(of: address), "seed \(seed) step \(step) \(address)")
            }
            #expect(table.count == model.owners.count)
            #expect(table.nodeCount <= max(0, 2 * table.count - 1))
        }
        for owner in 0..<6 {
            #expect(table.prefixes(of: owner) == model.owners.filter { $0.value == owner }.keys.sorted())
        }
    }
}
