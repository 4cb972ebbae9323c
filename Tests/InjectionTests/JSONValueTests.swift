import JSON
import TestSupport
import Testing

@Suite struct JSONValueTests {
    private func parse(_ text: String) throws(JSONError) -> JSONValue { try JSONValue(parsing: Array(text.utf8)) }

    @Test func `keeps the order of members and the digits of numbers`() throws {
        let text = #"{"b":1,"a":[-0.50,1e400,18446744073709551616,true,null,"é\n\"\\"],"":{}}"#
        #expect(String(decoding: try parse(text).serialized, as: UTF8.self) == text)
    }

    @Test func `reads whole numbers however they are written`() throws {
        #expect(try parse("64738").integer == 64738)
        #expect(try parse("64738.0").integer == 64738)
        #expect(try parse("6.4738e4").integer == 64738)
        #expect(try parse("64738.5").integer == nil)
        #expect(try parse("1e300").integer == nil)
        #expect(try parse("\"64738\"").integer == nil)
    }

    @Test(arguments: [
        "", " ", "{", "[1,]", "{\"a\":1,}", "{\"a\":1 \"b\":2}", "01", "1.", ".5", "-", "1e", "+1", "tru", "nulll",
        "\"",
        "\"\\x\"", "\"\\ud800\"", "\"\\ud800\\u0041\"", "\"a\nb\"", "{\"a\":1,\"a\":2}", "{\"a\":1,\"\\u0061\":2}",
        "1 2", "'a'", "NaN", "{1:2}", "\u{feff}1",
    ])
    func `refuses what is not JSON`(_ text: String) {
        #expect(throws: JSONError.self) { try parse(text) }
    }

    @Test func `refuses bytes that are not UTF-8, and 200 levels`() {
        #expect(throws: JSONError.self) { try JSONValue(parsing: [0x22, 0xff, 0x22]) }
        #expect(throws: JSONError.self) { try parse(String(repeating: "[", count: 200)) }
        #expect(throws: JSONError.self) {
            try parse(String(repeating: "[", count: 200) + String(repeating: "]", count: 200))
        }
    }

    @Test func `finds a member that is there twice among many`() throws {
        let members = (0..<50_000).map { "\"m\($0)\":0" }
        let many = try parse("{" + members.joined(separator: ",") + "}")
        #expect(many.members?.count == 50_000)
        #expect(throws: JSONError.self) { try parse("{" + (members + ["\"m17\":1"]).joined(separator: ",") + "}") }
    }

    @Test func `decodes escapes and surrogate pairs`() throws {
        #expect(try parse(#""\u00e9\ud83d\udc07\/\b\f""#).text == "é🐇/\u{8}\u{c}")
    }

    @Test func `no bytes crash the parser`() {
        var generator = SeededRandom(seed: 7)
        let start = Array(
            #"{"spec":{"containers":[{"name":"a","ports":[{"containerPort":80}]}],"x":-1.5e3,"y":"é"}}"#.utf8)
        for _ in 0..<5000 {
            var bytes = start
            for _ in 0..<Int.random(in: 1...6, using: &generator) {
                bytes[Int.random(in: 0..<bytes.count, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
            }
            if let value = try? JSONValue(parsing: bytes) {
                #expect((try? JSONValue(parsing: value.serialized)) == value)
            }
        }
    }
}
