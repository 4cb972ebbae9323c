import Addressing
import Testing

@Suite struct AddressTextTests {
    @Test(arguments: ["0.0.0.0", "10.1.2.3", "255.255.255.255", "::", "::1", "2001:db8::ff00:42:8329", "fd77::"])
    func `an address survives its text`(_ text: String) throws {
        #expect(try #require(IPAddress(text)).description == text)
    }

    @Test(arguments: ["", "1.2.3", "1.2.3.4.5", "256.0.0.1", "fe80::1%eth0", ":::", "a", "1.2.3.4 "])
    func `what is not an address is refused`(_ text: String) {
        #expect(IPAddress(text) == nil)
    }

    @Test(arguments: ["192.0.2.1:51820", "[2001:db8::1]:1", "0.0.0.0:0"])
    func `an endpoint survives its text`(_ text: String) throws {
        #expect(try #require(Endpoint(text)).description == text)
    }

    @Test(arguments: ["192.0.2.1", "192.0.2.1:", "192.0.2.1:65536", "192.0.2.1:-1", "2001:db8::1:1", "[192.0.2.1]:1"])
    func `what is not an endpoint is refused`(_ text: String) {
        #expect(Endpoint(text) == nil)
    }

    @Test(arguments: ["10.0.0.0/8", "::/0", "2001:db8::/32", "192.0.2.1/32"])
    func `a prefix survives its text`(_ text: String) throws {
        #expect(try #require(IPPrefix(text)).description == text)
    }

    @Test(arguments: ["10.0.0.0/33", "::/129", "10.0.0.0/-1", "10.0.0.0/", "10.0.0.0/+8", "/8"])
    func `what is not a prefix is refused`(_ text: String) {
        #expect(IPPrefix(text) == nil)
    }

    @Test func `an agent id survives its text and its bytes`() throws {
        let id = AgentID(high: 0x0123_4567_89ab_cdef, low: 0xfedc_ba98_7654_3210)
        #expect(id.description == "0123456789abcdeffedcba9876543210")
        #expect(AgentID(id.description) == id)
        #expect(AgentID(id.bytes) == id)
    }
}
