import TestSupport
import Testing

@testable import Membership

@Suite struct JSONValueTests {
    @Test func `what is written parses to the same`() {
        let value = JSONValue.object([
            .init("text", .string("a\"\\\u{1}é😀")), .init("number", .number(.max)), .init("flag", .bool(true)),
            .init("list", .array([.null, .object([]), .array([])])),
        ])
        #expect(JSONValue(parsing: value.text) == value)
    }

    @Test func `escapes are understood`() {
        #expect(JSONValue(parsing: Array(#""\u0041\ud83d\ude00\n""#.utf8)) == .string("A😀\n"))
    }

    @Test(arguments: [
        "", "{", "}", "[1,]", "{\"a\":1,}", "{\"a\":1,\"a\":2}", "{\"a\" 1}", "01", "-1", "1.5", "1e3",
        "18446744073709551616",
        "\"", "\"\\x\"", "\"\\ud800\"", "\"\\udc00\"", "\"\\u+123\"", "\"\u{1}\"", "tru", "1 1", "[[[[[[[[[1]]]]]]]]]",
        "{\"a\":1}x", "nul", "'a'",
    ])
    func `malformed text is refused`(text: String) {
        #expect(JSONValue(parsing: Array(text.utf8)) == nil)
    }

    @Test func `invalid UTF-8 is refused`() {
        #expect(JSONValue(parsing: [0x22, 0xff, 0x22]) == nil)
        #expect(JSONValue(parsing: [0x22, 0xc0, 0x80, 0x22]) == nil)
    }

    @Test func `no bytes crash the parser`() {
        var random = SeededRandom(seed: 42)
        let alphabet = Array("{}[]\",:\\u0123dtrfn ".utf8) + [0xff]
        for _ in 0..<20_000 {
            let text = (0..<Int.random(in: 0..<40, using: &random)).map { _ in
                alphabet.randomElement(using: &random) ?? 0
            }
            if let value = JSONValue(parsing: text) { #expect(JSONValue(parsing: value.text) == value) }
        }
    }
}
