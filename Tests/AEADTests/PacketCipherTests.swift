import AEAD
import Glibc
import Sodium
import Synchronization
import Testing

@Suite struct PacketCipherTests {
    /// Sizes around every break-even and block boundary, and a full packet.
    static let sizes = [
        0, 1, 15, 16, 17, 63, 64, 65, 127, 128, 129, 255, 256, 257, 511, 512, 575, 576, 1279, 1420, 1983, 1984, 1985,
        2000, 2001, 2048, 8900, 65000,
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

    @Test(arguments: AEADLibrary.allCases)
    func `nothing of a forged packet is left`(_ library: AEADLibrary) throws {
        try Libsodium.initialize()
        guard library.isAvailable else { return #expect(library != .libsodium) }
        let key = Libsodium.randomBytes(32)
        let plaintext = Libsodium.randomBytes(1420)
        var bytes = try seal(plaintext, key, 9, library)
        bytes[3] ^= 1
        let cipher = PacketCipher(try SecretKey(copying: key), library: library)
        let isAuthentic = unsafe bytes.withUnsafeMutableBufferPointer {
            unsafe cipher.open($0.baseAddress!, count: $0.count, counter: 9)
        }
        #expect(!isAuthentic)
        #expect(zip(bytes, plaintext).filter { $0 == $1 }.count < 30, "no more than chance has it")
    }

    /// One session's packets, of any size and order, with forged ones between them: each by itself, whatever came before it.
    @Test(arguments: AEADLibrary.allCases)
    func `a session's packets don't depend on each other, nor on forged ones`(_ library: AEADLibrary) throws {
        try Libsodium.initialize()
        guard library.isAvailable else { return #expect(library != .libsodium) }
        let key = Libsodium.randomBytes(32)
        let sealing = PacketCipher(try SecretKey(copying: key), library: library)
        let opening = PacketCipher(try SecretKey(copying: key), library: library)
        for (index, size) in (Self.sizes + Self.sizes.reversed()).enumerated() {
            let plaintext = Libsodium.randomBytes(size)
            let counter = UInt64(index) &* 0x9e37_79b9
            var sealed = [UInt8](repeating: 0, count: size + 16)
            unsafe sealed.withUnsafeMutableBufferPointer { output in
                unsafe plaintext.withUnsafeBufferPointer {
                    unsafe sealing.seal($0.baseAddress, count: size, counter: counter, into: output.baseAddress!)
                }
            }
            #expect(try sealed == seal(plaintext, key, counter, .libsodium))
            var forged = sealed
            forged[size / 2] ^= 4
            var results: [Bool] = []
            for isForged in [true, false] {
                results.append(
                    unsafe (isForged ? forged : sealed).withUnsafeBufferPointer { input in
                        var bytes = unsafe Array(input)
                        let isAuthentic = unsafe bytes.withUnsafeMutableBufferPointer {
                            unsafe opening.open($0.baseAddress!, count: size + 16, counter: counter)
                        }
                        return isAuthentic && Array(bytes.dropLast(16)) == plaintext
                    })
            }
            #expect(results == [false, true])
        }
    }

    /// Sessions of their own, as the packet threads have them: what they share is the library.
    @Test(arguments: AEADLibrary.allCases)
    func `threads that seal and open at once don't disturb each other`(_ library: AEADLibrary) async throws {
        try Libsodium.initialize()
        guard library.isAvailable else { return #expect(library != .libsodium) }
        let threads = try (0..<4).map { _ in try PacketThread(library) }
        var rounds: [Int] = []
        for thread in threads { rounds.append(thread.join()) }
        #expect(rounds == [Int](repeating: PacketThread.rounds, count: threads.count))
    }

    private func seal(_ plaintext: [UInt8], _ key: [UInt8], _ counter: UInt64, _ library: AEADLibrary) throws -> [UInt8]
    {
        let cipher = PacketCipher(try SecretKey(copying: key), library: library)
        var output = [UInt8](repeating: 0, count: plaintext.count + 16)
        unsafe plaintext.withUnsafeBufferPointer { input in
            unsafe output.withUnsafeMutableBufferPointer { output in
                unsafe cipher.seal(input.baseAddress, count: input.count, counter: counter, into: output.baseAddress!)
            }
        }
        return output
    }

    private func open(_ sealed: [UInt8], _ key: [UInt8], _ counter: UInt64, _ library: AEADLibrary) throws -> [UInt8]? {
        let cipher = PacketCipher(try SecretKey(copying: key), library: library)
        var bytes = sealed
        let isAuthentic = unsafe bytes.withUnsafeMutableBufferPointer {
            unsafe cipher.open($0.baseAddress!, count: $0.count, counter: counter)
        }
        return isAuthentic ? Array(bytes.dropLast(16)) : nil
    }
}

/// A thread that seals packets, opens them and compares them with libsodium's.
private final class PacketThread: Sendable {
    static let rounds = 2000
    private let library: AEADLibrary
    private let key: [UInt8]
    private let equal = Atomic<Int>(0)
    private let handle = Mutex<pthread_t?>(nil)

    init(_ library: AEADLibrary) throws {
        self.library = library
        key = Libsodium.randomBytes(32)
        var started = pthread_t()
        let own = unsafe Unmanaged.passRetained(self).toOpaque()
        let status = unsafe pthread_create(
            &started, nil,
            { own in
                unsafe Unmanaged<PacketThread>.fromOpaque(own!).takeRetainedValue().run()
                return nil
            }, own)
        try #require(status == 0)
        handle.withLock { $0 = started }
    }

    /// Rounds that went well.
    func join() -> Int {
        if let started = handle.withLock({ $0 }) { pthread_join(started, nil) }
        return equal.load(ordering: .acquiring)
    }

    private func run() {
        guard let sealKey = try? SecretKey(copying: key), let openKey = try? SecretKey(copying: key),
            let referenceKey = try? SecretKey(copying: key)
        else { return }
        let sealing = PacketCipher(sealKey, library: library)
        let opening = PacketCipher(openKey, library: library)
        let reference = PacketCipher(referenceKey, library: .libsodium)
        for round in 0..<Self.rounds {
            let plaintext = [UInt8](repeating: key[round % 32], count: 16 + round * 7 % 1405)
            var bytes = [plaintext + [UInt8](repeating: 0, count: 16), plaintext + [UInt8](repeating: 0, count: 16)]
            unsafe bytes[0].withUnsafeMutableBufferPointer {
                unsafe sealing.seal(
                    $0.baseAddress!, count: plaintext.count, counter: UInt64(round), into: $0.baseAddress!)
            }
            unsafe bytes[1].withUnsafeMutableBufferPointer {
                unsafe reference.seal(
                    $0.baseAddress!, count: plaintext.count, counter: UInt64(round), into: $0.baseAddress!)
            }
            guard bytes[0] == bytes[1] else { return }
            let isAuthentic = unsafe bytes[0].withUnsafeMutableBufferPointer {
                unsafe opening.open($0.baseAddress!, count: $0.count, counter: UInt64(round))
            }
            guard isAuthentic, bytes[0].dropLast(16).elementsEqual(plaintext) else { return }
            equal.add(1, ordering: .releasing)
        }
    }
}
