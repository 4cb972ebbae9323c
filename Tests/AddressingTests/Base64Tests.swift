import Addressing
import Testing

@Suite struct Base64Tests {
    /// RFC 4648 section 10.
    @Test(arguments: [
        ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"),
    ])
    func `the vectors of RFC 4648`(_ plain: String, _ encoded: String) {
        #expect(Base64.encode(Array(plain.utf8)) == encoded)
        #expect(Base64.decode(encoded) == Array(plain.utf8))
    }

    @Test func `base64url uses its own alphabet and no padding`() {
        #expect(Base64.encodeURL([0xfb, 0xff]) == "-_8")
        #expect(Base64.decodeURL("-_8") == [0xfb, 0xff])
    }

    @Test(arguments: ["Z", "Zg=", "Zg", "Z===", "Zh==", "Zm9v\n", "Zm 9", "-_8="])
    func `only canonical standard text decodes`(_ text: String) {
        #expect(Base64.decode(text) == nil)
    }

    @Test(arguments: ["-_9", "+/8", "-_8=", "A"])
    func `only canonical url text decodes`(_ text: String) {
        #expect(Base64.decodeURL(text) == nil)
    }

    @Test func `hexadecimal decodes both cases and nothing else`() {
        #expect(Hexadecimal.decode("00fFA0") == [0, 255, 160])
        #expect(Hexadecimal.encode([0, 255, 160]) == "00ffa0")
        #expect(Hexadecimal.decode("0") == nil)
        #expect(Hexadecimal.decode("0g") == nil)
    }
}
