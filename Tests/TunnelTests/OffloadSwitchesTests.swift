import Testing
import Tun

@testable import Tunnel

@Suite struct OffloadSwitchesTests {
    @Test func `without a word everything is asked for`() {
        let switches = OffloadSwitches("")
        #expect(switches.tun == .all && switches.sendsSegments && switches.receivesSegments)
    }

    @Test func `each word takes away its own offload`() {
        #expect(OffloadSwitches("no-tso").tun == [.checksum, .uso4, .uso6])
        #expect(OffloadSwitches("no-uso").tun == [.checksum, .tso4, .tso6, .tsoECN])
        #expect(!OffloadSwitches("no-gso").sendsSegments && OffloadSwitches("no-gso").receivesSegments)
        #expect(!OffloadSwitches("no-gro").receivesSegments && OffloadSwitches("no-gro").sendsSegments)
        #expect(OffloadSwitches("no-uso,no-gro,what") != OffloadSwitches("no-uso"))
    }

    @Test func `none takes away all`() {
        let switches = OffloadSwitches("none")
        #expect(switches.tun.isEmpty && !switches.sendsSegments && !switches.receivesSegments)
    }
}
