import Noise
import Testing

@Suite struct TAI64NTests {
    @Test func `a stamp is 2^62 plus 10 leap seconds, and its nanoseconds are whitened`() {
        let stamp = TAI64N(unixSeconds: 1_700_000_000, nanoseconds: 0x1dff_ffff)
        #expect(text(stamp.bytes) == "400000006553f10a1d000000")
        #expect(TAI64N(stamp.bytes) == stamp)
    }

    @Test func `stamps order as time does, also before 1970`() {
        let times: [(Int64, UInt32)] = [(-5, 0), (0, 0), (0, 1 << 24), (1, 0), (1, 900_000_000), (1 << 40, 0)]
        let stamps = times.map { TAI64N(unixSeconds: $0, nanoseconds: $1) }
        #expect(stamps == stamps.sorted())
        #expect(Set(stamps).count == stamps.count)
        #expect(stamps.allSatisfy { $0 > .zero })
    }

    @Test func `stamps grow even where the clock stands still or goes back`() {
        var last = TAI64N(unixSeconds: 100, nanoseconds: 990_000_000)
        for (seconds, nanoseconds) in [(100, 990_000_001), (100, 0), (50, 0), (99, 999_999_999)] as [(Int64, UInt32)] {
            let next = TAI64N(unixSeconds: seconds, nanoseconds: nanoseconds).after(last)
            #expect(next > last)
            #expect(next.nanoseconds < 1_000_000_000 && next.nanoseconds % TAI64N.granularity == 0)
            last = next
        }
        let later = TAI64N(unixSeconds: 200, nanoseconds: 0)
        #expect(later.after(last) == later)
    }

    @Test func `only 12 bytes are a stamp`() {
        #expect(TAI64N([UInt8](repeating: 0, count: 11)) == nil)
        #expect(TAI64N([UInt8](repeating: 0, count: 13)) == nil)
        #expect(TAI64N([UInt8](repeating: 255, count: 12)).map { $0.bytes } == [UInt8](repeating: 255, count: 12))
    }
}
