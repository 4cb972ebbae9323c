import Addressing
import Testing

@Suite struct IPPrefixTests {
    @Test(arguments: [
        ("10.0.0.0/8", "10.255.0.1", true), ("10.0.0.0/8", "11.0.0.1", false), ("0.0.0.0/0", "1.2.3.4", true),
        ("::/0", "1.2.3.4", false), ("fd77::/48", "fd77:0:0:ffff::1", true), ("fd77::/48", "fd77:0:1::1", false),
        ("2001:db8::8000:0:0:0/65", "2001:db8::8000:0:0:1", true), ("2001:db8::8000:0:0:0/65", "2001:db8::1", false),
        ("192.0.2.1/32", "192.0.2.1", true),
    ])
    func `containment`(_ prefix: String, _ address: String, _ expected: Bool) throws {
        #expect(try #require(IPPrefix(prefix)).contains(#require(IPAddress(address))) == expected)
    }

    @Test func `overlap is containment either way`() throws {
        let wide = try #require(IPPrefix("10.0.0.0/8"))
        let narrow = try #require(IPPrefix("10.1.0.0/16"))
        let other = try #require(IPPrefix("172.16.0.0/12"))
        #expect(wide.overlaps(narrow) && narrow.overlaps(wide))
        #expect(!wide.overlaps(other))
        #expect(wide.contains(narrow) && !narrow.contains(wide))
    }

    @Test func `masking clears host bits only`() throws {
        #expect(try #require(IPPrefix("10.1.2.3/20")).masked.description == "10.1.0.0/20")
        #expect(try #require(IPPrefix("fd77::1/64")).masked.description == "fd77::/64")
        #expect(try #require(IPPrefix("1.2.3.4/0")).masked.description == "0.0.0.0/0")
    }

    @Test(arguments: [
        "127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "169.254.169.254", "::1", "::", "ff02::1", "fe80::1",
        "::ffff:127.0.0.1", "64:ff9b::a9fe:a9fe", "fd00:ec2::254", "100.100.100.200",
    ])
    func `a dangerous target is refused`(_ text: String) throws {
        #expect(try #require(IPAddress(text)).isRefusedAsTarget)
    }

    @Test(arguments: ["10.0.0.1", "192.168.1.1", "203.0.113.9", "2001:db8::1", "fd00::1", "100.64.0.1"])
    func `an ordinary target is not refused`(_ text: String) throws {
        #expect(try !#require(IPAddress(text)).isRefusedAsTarget)
    }
}
