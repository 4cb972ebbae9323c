import Testing

@testable import Membership

@Suite struct AgentNameTests {
    @Test func `names are lower-case DNS names`() {
        for name in ["a", "agent-1", "a.b.c", "0", String(repeating: "a", count: 63)] {
            #expect(AgentName.isValid(name))
        }
        for name in ["", "A", "-a", "a-", ".a", "a.", "a..b", "a_b", "a/b", "é", String(repeating: "a", count: 64)] {
            #expect(!AgentName.isValid(name))
        }
    }

    @Test(arguments: [
        ("agent-*", "agent-1", true), ("agent-*", "agent-", true), ("agent-*", "agent", false), ("*", "x", true),
        ("a?c", "abc", true), ("a?c", "ac", false), ("*-db-*", "eu-db-1", true), ("*-db-*", "eu-web-1", false),
        ("*a*b", "xaxxb", true), ("exact", "exact", true), ("exact", "exactly", false),
    ])
    func `patterns match whole names`(pattern: String, name: String, matches: Bool) {
        #expect(NamePattern(pattern)?.matches(name) == matches)
    }

    @Test func `a hostile pattern takes no time`() {
        let pattern = NamePattern(String(repeating: "*a", count: 31))
        #expect(pattern?.matches(String(repeating: "a", count: 62) + "b") == false)
    }

    @Test func `an open pattern gives an agent the same name each time`() throws {
        let pattern = try #require(NamePattern("agent-*"))
        #expect(pattern.name(digits: "0123456789abcdef") == "agent-01234567")
        #expect(NamePattern("solo")?.name(digits: "01234567") == "solo")
        #expect(pattern.matches(pattern.name(digits: "0123456789abcdef")))
    }
}
