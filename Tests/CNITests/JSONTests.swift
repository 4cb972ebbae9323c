import Testing

@testable import CNI

/// Steele, Lea and Flood's generator: the same numbers from the same state.
private struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = (state ^ state >> 30) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
        return mixed ^ mixed >> 31
    }
}

@Suite struct JSONTests {
    private func parse(_ text: String) -> JSONValue? { try? JSONValue(parsing: Array(text.utf8)) }

    private func text(_ value: JSONValue?) -> String? { value.map { String(decoding: $0.serialized(), as: UTF8.self) } }

    @Test(arguments: [
        "null", "true", "false", "0", "-1", "9223372036854775807", "-9223372036854775808", #""""#, #""a""#, "[]", "{}",
        #"[1,[2,{"a":[]}],"x"]"#, #"{"a":{"b":null},"c":[true,false]}"#,
        // Numbers that no machine word holds come out as they went in.
        "1.50", "-0", "1e400", "-2.5E-7", "18446744073709551616", #""é😀\"\\\n\t\r\u0001""#,
    ])
    func `what is read is written the same`(input: String) {
        #expect(text(parse(input)) == input)
    }

    @Test func `keys are sorted, blanks are left out, and the last of two members counts`() {
        #expect(text(parse(" { \"b\" : 1 ,\n\t\"a\" : [ 1 , 2 ] , \"b\" : 2 }\r\n")) == #"{"a":[1,2],"b":2}"#)
    }

    @Test func `escapes are understood`() {
        #expect(parse(#""\u0041\ud83d\ude00\/\b\f""#) == .string("A😀/\u{8}\u{c}"))
        #expect(parse(#""a\u00e9b\u00C9""#) == .string("aébÉ"))
    }

    @Test(arguments: [
        "", " ", "{", "}", "[1,]", #"{"a":1,}"#, #"{"a" 1}"#, "{a:1}", "01", "+1", "-", ".5", "1.", "1e", "1e+", "0x1",
        "\"", #""\x""#, #""\ud800""#, #""\ud800\u0041""#, #""\udc00""#, #""\u+123""#, "\"\u{1}\"", "tru", "nul", "1 1",
        "{}x", "'a'", "NaN", "[1 2]", "//", "\u{feff}1",
    ])
    func `malformed text is refused`(input: String) {
        #expect(parse(input) == nil)
    }

    @Test func `depth and encoding are limited`() {
        func nested(_ depth: Int) -> String {
            String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        }
        #expect(parse(nested(64)) != nil)
        #expect(parse(nested(65)) == nil)
        #expect(parse(nested(500_000)) == nil)
        for bytes in [[0x22, 0xff, 0x22], [0x22, 0xc0, 0x80, 0x22], [0x22, 0xed, 0xa0, 0x80, 0x22]] as [[UInt8]] {
            #expect((try? JSONValue(parsing: bytes)) == nil)
        }
    }

    @Test func `no bytes crash the parser, and what it takes it gives back`() {
        var random = SplitMix(state: 42)
        let alphabet = Array(#"{}[]",:\u0123dtrfnaels -+.eE"#.utf8) + [0xff, 0xc3, 0xa9]
        for _ in 0..<20_000 {
            let input = (0..<Int.random(in: 0..<40, using: &random)).map { _ in
                alphabet.randomElement(using: &random) ?? 0
            }
            guard let value = try? JSONValue(parsing: input) else { continue }
            #expect((try? JSONValue(parsing: value.serialized())) == value, "\(input)")
        }
    }
}
