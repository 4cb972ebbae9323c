import Addressing
import Sodium
import Testing

private func bytes(_ text: String) throws -> [UInt8] { try #require(Hexadecimal.decode(text)) }

@Suite struct X25519Tests {
    private func multiply(_ scalar: String, _ point: String) throws -> String {
        try Libsodium.initialize()
        let secret = try SecretKey(copying: bytes(scalar))
        let point = try #require(Bytes32(try bytes(point)))
        return Hexadecimal.encode(try X25519.sharedSecret(secret, point).exportBytes())
    }

    @Test(arguments: [
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"
        ),
        (
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957"
        ),
    ]) func `the vectors of RFC 7748 section 5.2 match`(scalar: String, point: String, result: String) throws {
        #expect(try multiply(scalar, point) == result)
    }

    @Test func `a thousand iterations give the result of RFC 7748 section 5.2`() throws {
        var k = "0900000000000000000000000000000000000000000000000000000000000000"
        var u = k
        for round in 1...1000 {
            (k, u) = (try multiply(k, u), k)
            if round == 1 { #expect(k == "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079") }
        }
        #expect(k == "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51")
    }

    @Test func `both ends of RFC 7748 section 6.1 agree`() throws {
        try Libsodium.initialize()
        let alice = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"
        let bob = "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"
        let alicePublic = X25519.publicKey(of: try SecretKey(copying: bytes(alice))).description
        let bobPublic = X25519.publicKey(of: try SecretKey(copying: bytes(bob))).description
        #expect(alicePublic == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
        #expect(bobPublic == "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
        let shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
        #expect(try multiply(alice, bobPublic) == shared)
        #expect(try multiply(bob, alicePublic) == shared)
    }

    @Test(arguments: [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ]) func `a point of small order is refused`(point: String) throws {
        #expect(throws: SodiumError.smallOrderPoint) {
            try multiply("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4", point)
        }
    }
}

@Suite struct ChaChaPolyTests {
    private static let key = "1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0"
    private static let additionalData = "f33388860000000000004e91"
    private static let counter: UInt64 = 0x0807_0605_0403_0201
    private static let plaintext =
        "Internet-Drafts are draft documents valid for a maximum of six months and may be updated, replaced, or "
        + "obsoleted by other documents at any time. It is inappropriate to use Internet-Drafts as reference material "
        + "or to cite them other than as /\u{201c}work in progress./\u{201d}"
    private static let ciphertext =
        "64a0861575861af460f062c79be643bd5e805cfd345cf389f108670ac76c8cb24c6cfc18755d43eea09ee94e382d26b0bdb7b73c321b"
        + "0100d4f03b7f355894cf332f830e710b97ce98c8a84abd0b948114ad176e008d33bd60f982b1ff37c8559797a06ef4f0ef61c18632"
        + "4e2b3506383606907b6a7c02b0f9f6157b53c867e4b9166c767b804d46a59b5216cde7a4e99040c5a40433225ee282a1b0a06c523e"
        + "af4534d7f83fa1155b0047718cbc546a0d072b04b3564eea1b422273f548271a0bb2316053fa76991955ebd63159434ecebb4e466d"
        + "ae5a1073a6727627097a1049e617d91d361094fa68f0ff77987130305beaba2eda04df997b714d6c6f2c29a6ad5cb4022b02709b"
        + "eead9d67890cbb22392336fea1851f38"

    private func open(_ ciphertext: [UInt8], additionalData: [UInt8], counter: UInt64) throws -> [UInt8]? {
        let key = try SecretKey(copying: bytes(Self.key))
        var output = [UInt8](repeating: 0, count: ciphertext.count - 16)
        let isAuthentic = unsafe output.withUnsafeMutableBufferPointer { output in
            unsafe additionalData.withUnsafeBytes {
                unsafe ChaChaPoly.open(
                    ciphertext, count: ciphertext.count, additionalData: $0, counter: counter, key: key,
                    into: output.baseAddress)
            }
        }
        return isAuthentic ? output : nil
    }

    @Test func `the vector of RFC 8439 appendix A.5 seals and opens`() throws {
        try Libsodium.initialize()
        let plaintext = Array(Self.plaintext.utf8)
        let additionalData = try bytes(Self.additionalData)
        let key = try SecretKey(copying: bytes(Self.key))
        var sealed = plaintext + [UInt8](repeating: 0, count: 16)
        unsafe sealed.withUnsafeMutableBufferPointer { buffer in
            unsafe additionalData.withUnsafeBytes {
                // In place, as packets are sealed.
                unsafe ChaChaPoly.seal(
                    buffer.baseAddress, count: plaintext.count, additionalData: $0, counter: Self.counter, key: key,
                    into: buffer.baseAddress!)
            }
        }
        #expect(Hexadecimal.encode(sealed) == Self.ciphertext)
        #expect(try open(sealed, additionalData: additionalData, counter: Self.counter) == plaintext)
    }

    @Test func `any flipped bit, other counter or other data fails`() throws {
        try Libsodium.initialize()
        let (sealed, additionalData) = (try bytes(Self.ciphertext), try bytes(Self.additionalData))
        for index in stride(from: 0, to: sealed.count, by: 11) {
            var damaged = sealed
            damaged[index] ^= 0x10
            #expect(try open(damaged, additionalData: additionalData, counter: Self.counter) == nil)
        }
        #expect(try open(sealed, additionalData: additionalData, counter: Self.counter + 1) == nil)
        #expect(try open(sealed, additionalData: [], counter: Self.counter) == nil)
    }
}

@Suite struct XChaChaPolyTests {
    // draft-irtf-cfrg-xchacha-03 appendix A.3.1
    private static let key = [UInt8](0x80..<0xa0)
    private static let nonce = [UInt8](0x40..<0x58)
    private static let additionalData: [UInt8] = [
        0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7,
    ]
    private static let plaintext = Array(
        ("Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would "
            + "be it.").utf8)
    private static let ciphertext =
        "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54"
        + "c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff921f9664c97637da9768812"
        + "f615c68b13b52ec0875924c1c7987947deafd8780acf49"

    @Test func `the vector of the XChaCha draft seals and opens`() throws {
        try Libsodium.initialize()
        let key = try SecretKey(copying: Self.key)
        let sealed = XChaChaPoly.seal(
            Self.plaintext, additionalData: Self.additionalData, nonce: Self.nonce, key: key)
        #expect(Hexadecimal.encode(sealed) == Self.ciphertext)
        let opened = try XChaChaPoly.open(sealed, additionalData: Self.additionalData, nonce: Self.nonce, key: key)
        #expect(opened == Self.plaintext)
    }

    @Test func `a flipped bit, a short text and a short nonce are refused`() throws {
        try Libsodium.initialize()
        let key = try SecretKey(copying: Self.key)
        var sealed = try bytes(Self.ciphertext)
        sealed[0] ^= 1
        for (text, nonce) in [(sealed, Self.nonce), ([1, 2, 3], Self.nonce), (try bytes(Self.ciphertext), [0])] {
            #expect(throws: SodiumError.authentication) {
                try XChaChaPoly.open(text, additionalData: Self.additionalData, nonce: nonce, key: key)
            }
        }
    }
}
