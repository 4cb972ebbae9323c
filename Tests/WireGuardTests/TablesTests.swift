import Addressing
import TestSupport
import Testing
import Timing
import WireGuard

@Suite struct IndexTableTests {
    /// Draws from few numbers, so that indices collide.
    private struct NarrowRandom: RandomNumberGenerator {
        var base: SeededRandom
        mutating func next() -> UInt64 { base.next() % 2048 * 16 }
    }

    @Test(arguments: 0..<20) func `it agrees with a dictionary`(seed: UInt64) {
        var random = NarrowRandom(base: SeededRandom(seed: seed))
        var table = IndexTable()
        var model: [UInt32: Int32] = [:]
        for step in 0..<2000 {
            if Int.random(in: 0..<5, using: &random.base) < 3, model.count < 1000 {
                let slot = Int32.random(in: 0..<50, using: &random.base)
                let index = table.allocate(slot, using: &random)
                #expect(model[index] == nil, "seed \(seed) step \(step)")
                model[index] = slot
            } else {
                let index = model.keys.sorted().randomElement(using: &random.base) ?? 7
                table.remove(index)
                model[index] = nil
            }
            #expect(table.count == model.count)
        }
        for index in UInt32(0)..<33_000 where table.slot(of: index) != model[index] ?? -1 {
            Issue.record("seed \(seed): index \(index)")
        }
    }

    @Test func `removing what is not there changes nothing`() {
        var (table, random) = (IndexTable(), SeededRandom(seed: 1))
        let index = table.allocate(4, using: &random)
        table.remove(index &+ 1)
        table.remove(index &+ 16)
        #expect(table.slot(of: index) == 4 && table.count == 1)
    }
}

@Suite struct ScheduleTests {
    @Test(arguments: 0..<20) func `slots come out in order of their times`(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var schedule = Schedule()
        var model: [Int32: UInt64] = [:]
        for _ in 0..<1000 {
            let slot = Int32.random(in: 0..<40, using: &random)
            switch Int.random(in: 0..<4, using: &random) {
            case 0:
                schedule.remove(slot)
                model[slot] = nil
            case 1:
                let now = UInt64.random(in: 0..<1000, using: &random)
                let popped = schedule.popDue(MonotonicTime(nanoseconds: now))
                #expect((popped != nil) == model.values.contains { $0 <= now })
                if let popped {
                    #expect(model[popped] == model.values.min(), "seed \(seed)")
                    model[popped] = nil
                }
            default:
                let time = UInt64.random(in: 0..<1000, using: &random)
                schedule.set(slot, to: MonotonicTime(nanoseconds: time))
                model[slot] = time
            }
            #expect(schedule.earliest.nanoseconds == model.values.min() ?? .max)
        }
    }
}

@Suite struct InnerPacketTests {
    private func parse(_ bytes: [UInt8]) -> InnerPacket? { unsafe bytes.withUnsafeBytes { unsafe InnerPacket($0) } }

    @Test func `both families give length and addresses`() throws {
        let v4 = try #require(parse(try packet(from: "10.0.0.1", to: "10.0.0.2", payload: [1, 2]) + [0, 0, 0]))
        #expect(v4.length == 22 && !v4.isIPv6)
        #expect(v4.source.high == 0x0a00_0001 << 32 && v4.destination.high == 0x0a00_0002 << 32)
        let v6 = try #require(parse(try packet(from: "fd00::1", to: "fd00::2", payload: [1, 2]) + [0]))
        #expect(v6.length == 42 && v6.isIPv6)
        #expect(v6.source.high == 0xfd00 << 48 && v6.source.low == 1 && v6.destination.low == 2)
    }

    @Test func `no truncation, version or length that lies is accepted`() throws {
        for whole in [try packet(from: "10.0.0.1", to: "10.0.0.2"), try packet(from: "fd00::1", to: "fd00::2")] {
            for count in whole.indices { #expect(parse(Array(whole.prefix(count))) == nil) }
            for version in UInt8(0)..<16 where version != whole[0] >> 4 {
                #expect(
                    version == 4 && whole.count >= 40
                        || parse([version << 4 | whole[0] & 15] + whole.dropFirst()) == nil)
            }
        }
        var v4 = try packet(from: "10.0.0.1", to: "10.0.0.2", payload: [UInt8](repeating: 0, count: 40))
        v4[0] = 0x44
        #expect(parse(v4) == nil)
        v4[0] = 0x4f
        #expect(parse(v4)?.length == 60)
        (v4[2], v4[3]) = (0, 59)
        #expect(parse(v4) == nil)
        (v4[2], v4[3]) = (0, 61)
        #expect(parse(v4) == nil)
    }
}
