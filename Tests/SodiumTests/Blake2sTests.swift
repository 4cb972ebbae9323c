import Addressing
import Sodium
import Testing

@Suite struct Blake2sTests {
    private func hash(_ message: [UInt8], key: [UInt8] = [], size: Int = 32, chunk: Int = .max) -> [UInt8] {
        var state: Blake2s
        if key.isEmpty {
            state = Blake2s(size: size)
        } else {
            state = unsafe Blake2s(key: key.span.bytes, size: size)
        }
        var start = 0
        while start < message.count {
            let end = start + min(chunk, message.count - start)
            state.update(Array(message[start..<end]))
            start = end
        }
        var digest = [UInt8](repeating: 0, count: size)
        unsafe digest.withUnsafeMutableBytes { unsafe state.finish(into: $0) }
        return digest
    }

    private func hmac(_ key: [UInt8], _ first: [UInt8], _ second: [UInt8] = []) -> [UInt8] {
        var output = [UInt8](repeating: 0, count: 32)
        unsafe output.withUnsafeMutableBytes { output in
            unsafe key.withUnsafeBytes { key in
                unsafe first.withUnsafeBytes { first in
                    unsafe second.withUnsafeBytes { unsafe Blake2s.hmac(key: key, first, $0, into: output) }
                }
            }
        }
        return output
    }

    @Test func `abc hashes to the digest of RFC 7693 appendix B`() {
        #expect(
            Hexadecimal.encode(hash(Array("abc".utf8)))
                == "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982")
    }

    @Test func `the self-test of RFC 7693 appendix E passes`() {
        // The RFC's deterministic sequence: a Fibonacci generator whose top byte is taken.
        func sequence(_ count: Int, seed: UInt32) -> [UInt8] {
            var (a, b) = (0xdead_4bad &* seed, UInt32(1))
            return (0..<count).map { _ in
                (a, b) = (b, a &+ b)
                return UInt8(truncatingIfNeeded: b >> 24)
            }
        }
        var total = Blake2s()
        for size in [16, 20, 28, 32] {
            for length in [0, 3, 64, 65, 255, 1024] {
                let message = sequence(length, seed: UInt32(length))
                total.update(hash(message, size: size))
                total.update(hash(message, key: sequence(size, seed: UInt32(size)), size: size))
            }
        }
        #expect(total.finish().description == "6a411f08ce25adcdfb02aba641451cec53c598b24f4fc787fbdc88797f4c1dfe")
    }

    @Test func `the keyed vectors of the reference implementation match`() {
        let key = [UInt8](0..<32)
        #expect(
            Hexadecimal.encode(hash([], key: key)) == "48a8997da407876b3d79c0d92325ad3b89cbb754d86ab71aee047ad345fd2c49"
        )
        #expect(
            Hexadecimal.encode(hash([UInt8](0..<255), key: key))
                == "3fb735061abc519dfe979e54c1ee5bfad0a9d858b3315bad34bde999efd724dd")
    }

    @Test func `every length, key size and digest size agrees with Python's hashlib`() {
        // hashlib.blake2s over blake2s(bytes(range(n)), key=bytes(range(n % 32 + 1)), digest_size=n % 32 + 1), n in 0..<300
        var total = Blake2s()
        for count in 0..<300 {
            let size = count % 32 + 1
            let message = (0..<count).map { UInt8(truncatingIfNeeded: $0) }
            total.update(hash(message, key: [UInt8](0..<UInt8(size)), size: size))
        }
        #expect(total.finish().description == "ab0149b50d2737b08e18b55de1d6955ebcc6370772647c41b3b97cedc9d959d1")
    }

    @Test(arguments: [1, 3, 63, 64, 65, 127, 128, 200])
    func `updates of any size give the same digest`(chunk: Int) {
        let message = (0..<517).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        #expect(hash(message, chunk: chunk) == hash(message))
    }

    @Test func `HMAC agrees with Python's hmac`() {
        #expect(
            Hexadecimal.encode(hmac(Array("key".utf8), Array("The quick brown fox jumps over the lazy dog".utf8)))
                == "f93215bb90d4af4c3061cd932fb169fb8bb8a91d0b4022baea1271e1323cd9a0")
        let long = [UInt8](repeating: 0x78, count: 200)
        #expect(
            Hexadecimal.encode(hmac([UInt8](0..<64), long))
                == "f18636f95121ee3875cb6dd33d2e3c4ff1d90bf27082fc5461737d32e9038dae")
        #expect(hmac([UInt8](0..<64), Array(long.prefix(77)), Array(long.dropFirst(77))) == hmac([UInt8](0..<64), long))
    }

    @Test func `the key derivation functions agree with an independent HKDF`() throws {
        try Libsodium.initialize()
        let input = Array("input keying material".utf8)
        var chainingKey = try SecretKey(copying: [UInt8](0..<32))
        var first = try SecretKey()
        var second = try SecretKey()
        unsafe input.withUnsafeBytes { unsafe Blake2s.derive(&chainingKey, &first, &second, input: $0) }
        let outputs = [
            "d49ec1ae587b690ec2d4c38d1802dd052d26ab3338bc0b665629ece5dfc61ae1",
            "46d705e3e5cbc140bbfdf613d3733a0c3905bf21d5e1b34213c5a2a883b10553",
            "17e6966e3a04136a899866a1650d1a323fdcdcb19956e0e97c6be5291850b302",
        ]
        #expect(Hexadecimal.encode(chainingKey.exportBytes()) == outputs[0])
        #expect(Hexadecimal.encode(first.exportBytes()) == outputs[1])
        #expect(Hexadecimal.encode(second.exportBytes()) == outputs[2])

        chainingKey = try SecretKey(copying: [UInt8](0..<32))
        unsafe input.withUnsafeBytes { unsafe Blake2s.derive(&chainingKey, input: $0) }
        #expect(Hexadecimal.encode(chainingKey.exportBytes()) == outputs[0])

        chainingKey = try SecretKey(copying: [UInt8](0..<32))
        unsafe Blake2s.derive(&chainingKey, &first, input: UnsafeRawBufferPointer(start: nil, count: 0))
        #expect(
            Hexadecimal.encode(chainingKey.exportBytes())
                == "7a38c34bf2b8738d7374ca77c44ecb309a11d2b2528304fa86052c365e722624")
        #expect(
            Hexadecimal.encode(first.exportBytes())
                == "1a17621f346abdc520746a9fb64d8eb03231d674fc15687537b0780fd9c060fd")
    }
}
