import Addressing
import Testing
import Timing

@testable import Gather

@Suite struct NATDepthTests {
    private static let home = IPv4Address(192, 168, 1, 1)
    private static let carrier = IPv4Address(100, 64, 0, 1)
    private static let wide = IPv4Address(198, 51, 100, 1)

    @Test func `the outermost NAT is the last router with an inside address`() {
        #expect(NATDepth.depth([1: Self.home, 2: Self.wide, 3: Self.wide]) == 1)
        #expect(NATDepth.depth([1: Self.home, 2: Self.carrier, 3: Self.wide]) == 2)
        #expect(NATDepth.depth([1: IPv4Address(10, 0, 0, 1), 3: IPv4Address(172, 16, 9, 9)]) == 3)
        // One that is silent, and one NAT whose inside has public addresses.
        #expect(NATDepth.depth([2: Self.carrier]) == 2)
        #expect(NATDepth.depth([1: Self.wide]) == 1)
        #expect(NATDepth.depth([:]) == nil)
    }

    @Test func `where no router answers, the measurement ends and says nothing`() throws {
        // On loopback no hop is counted.
        let server = Endpoint(.v4(IPv4Address(127, 0, 0, 1)), port: 9)
        #expect(try NATDepth.measure(toward: server, wait: .milliseconds(50)) == nil)
    }
}
