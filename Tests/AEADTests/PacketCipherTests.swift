import AEAD
import Sodium
import Testing

@Suite struct PacketCipherTests {
    /// Sizes around every break-even and block boundary, and a full packet.
    static let sizes = [
        0, 1, 15, 16, 17, 63, 64, 65, 191, 192, 193, 255, 256, 319, 320, 575, 576, 577, 1279, 1420, 8900, 65000,
    ]

    @Test(arguments: AEADLibrary.allCases, sizes)
    func `every library gives libsodium's bytes, and opens them`(_ library: AEADLibrary, _ size: Int) throws {
        try Libsodium.initialize()
        guard library.isAvailable else {
            print("\(library): not on this machine, so not compared")
            #expect(library != .libsodium)
            return
        }
        var random = SecureRandom()
        let bytes = Libsodium.randomBytes(32)
        for counter in [0, 1, UInt64(UInt32.max) + 7, random.next()] {
            let plaintext = Libsodium.randomBytes(size)
            let reference = try seal(plaintext, bytes, counter, .libsodium)
            let sealed = try seal(plaintext, bytes, counter, library)
            #expect(sealed == reference)
            #expect(try open(reference, bytes, counter, library) == plaintext)
        }
    }

    @Test(arguments: AEADLibrary.allCases)
    func `a flipped bit, another counter or another key does not open`(_ library: AEADLibrary) throws {
        try Libsodium.initialize()
        guard library.isAvailable else { return #expect(library != .libsodium) }
        let key = Libsodium.randomBytes(32)
        let sealed = try seal(Libsodium.randomBytes(1420), key, 5, library)
        for index in [0, 700, 1419, 1420, 1435] {
            var forged = sealed
            forged[index] ^= 0x10
            #expect(try open(forged, key, 5, library) == nil)
        }
        #expect(try open(sealed, key, 6, library) == nil)
        #expect(try open(sealed, Libsodium.randomBytes(32), 5, library) == nil)
        #expect(try open(Array(sealed.prefix(15)), key, 5, library) == nil)
        #expect(try open(sealed, key, 5, library) != nil)
    }

    private func seal(_ plaintext: [UInt8], _ key: [UInt8], _ counter: UInt64, _ library: AEADLibrary) throws -> [UInt8]
    {
        let cipher = PacketCipher(try SecretKey(copying: key), seals: true, library: library)
        var output = [UInt8](repeating: 0, count: plaintext.count + 16)
        unsafe plaintext.withUnsafeBufferPointer { input in
            unsafe output.withUnsafeMutableBufferPointer { output in
                unsafe cipher.seal(input.baseAddress, count: input.count, counter: counter, into: output.baseAddress!)
            }
        }
        return output
    }

    private func open(_ sealed: [UInt8], _ key: [UInt8], _ counter: UInt64, _ library: AEADLibrary) throws -> [UInt8]? {
        let cipher = PacketCipher(try SecretKey(copying: key), seals: false, library: library)
        var bytes = sealed
        let isAuthentic = unsafe bytes.withUnsafeMutableBufferPointer {
            unsafe cipher.open($0.baseAddress!, count: $0.count, counter: counter)
        }
        return isAuthentic ? Array(bytes.dropLast(16)) : nil
    }
}
