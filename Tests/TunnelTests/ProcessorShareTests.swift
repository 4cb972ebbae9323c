import Testing

@testable import Tunnel

@Suite struct ProcessorShareTests {
    @Test func `a control group's quota and period make processors`() {
        #expect(ProcessorShare.parse("50000 100000\n") == 0.5)
        #expect(ProcessorShare.parse("200000 100000") == 2)
        #expect(ProcessorShare.parse("max 100000\n") == nil)
        #expect(ProcessorShare.parse("-1\n 100000\n") == nil)
        #expect(ProcessorShare.parse("") == nil)
        #expect(ProcessorShare.parse("100000 0") == nil)
    }

    @Test func `there is at least a part of a processor, and one or two threads for packets`() {
        #expect(ProcessorShare.processors > 0)
        #expect((1...2).contains(ProcessorShare.packetThreads))
    }
}
