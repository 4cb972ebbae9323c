import Noise
import Sodium
import Testing
import Timing
import WireGuard

@Suite struct KeypairTests {
    init() throws { try Libsodium.initialize() }

    private func pair(sendCounter: UInt64 = 0) throws -> (a: Keypair, b: Keypair) {
        func keys() throws -> TransportKeys {
            let first = try SecretKey(copying: [UInt8](repeating: 1, count: 32))
            let second = try SecretKey(copying: [UInt8](repeating: 2, count: 32))
            return TransportKeys(fromInitiator: first, fromResponder: second, handshakeHash: .zero)
        }
        return (
            Keypair(
                try keys(), isInitiator: true, localIndex: 1, remoteIndex: 2, created: .zero, sendCounter: sendCounter),
            Keypair(try keys(), isInitiator: false, localIndex: 2, remoteIndex: 1, created: .zero)
        )
    }

    private func seal(_ keypair: Keypair, _ inner: [UInt8], padded: Int) -> [UInt8]? {
        var output = [UInt8](repeating: 0xaa, count: padded + 32)
        let length = unsafe output.withUnsafeMutableBytes { output in
            unsafe inner.withUnsafeBytes { unsafe keypair.seal($0, padded: padded, into: output) }
        }
        return length == nil ? nil : output
    }

    private func open(_ keypair: Keypair, _ message: [UInt8], counter: UInt64) -> [UInt8]? {
        var message = message
        let isAuthentic = unsafe message.withUnsafeMutableBytes { unsafe keypair.open($0, counter: counter) }
        return isAuthentic ? Array(message[16..<message.count - 16]) : nil
    }

    @Test(arguments: [0, 1, 15, 16, 17, 1419, 1420]) func `what one end seals the other opens, padded with zeros`(
        size: Int
    ) throws {
        let (a, b) = try pair()
        let inner = (0..<size).map { UInt8(truncatingIfNeeded: $0) }
        let padded = (size + 15) & ~15
        for counter in UInt64(0)..<3 {
            let message = try #require(seal(a, inner, padded: padded))
            #expect(message.prefix(16) == [4, 0, 0, 0, 2, 0, 0, 0, UInt8(counter), 0, 0, 0, 0, 0, 0, 0])
            #expect(open(b, message, counter: counter) == inner + [UInt8](repeating: 0, count: padded - size))
            #expect(open(a, message, counter: counter) == nil)
        }
    }

    @Test func `sealing in place gives the same bytes`() throws {
        let (a, _) = try pair()
        let (other, _) = try pair()
        let inner = [UInt8](1...100)
        let expected = try #require(seal(a, inner, padded: 112))
        var buffer = [UInt8](repeating: 0, count: 16) + inner + [UInt8](repeating: 9, count: 28)
        let length = unsafe buffer.withUnsafeMutableBytes { buffer in
            unsafe other.seal(
                UnsafeRawBufferPointer(rebasing: buffer[16..<116]), padded: 112,
                into: UnsafeMutableRawBufferPointer(buffer))
        }
        #expect(length == 144 && buffer == expected)
    }

    @Test func `rejectAfterMessages: the last counter is sealed, and then nothing ever again`() throws {
        let (a, b) = try pair(sendCounter: Keypair.rejectAfterMessages - 1)
        #expect(a.canSend(.zero))
        let message = try #require(seal(a, [1], padded: 16))
        #expect(open(b, message, counter: Keypair.rejectAfterMessages - 1) != nil)
        #expect(!a.canSend(.zero))
        for _ in 0..<10_000 where seal(a, [1], padded: 16) != nil { Issue.record("sealed beyond the limit") }
        #expect(!a.canSend(.zero))
    }

    @Test func `rejectAfterMessages: a counter at the limit is not accepted`() throws {
        let (_, b) = try pair()
        #expect(b.accept(Keypair.rejectAfterMessages - 1))
        #expect(!b.accept(Keypair.rejectAfterMessages))
        #expect(!b.accept(.max))
    }

    @Test func `rejectAfterTime ends both directions`() throws {
        let (a, _) = try pair()
        let before = MonotonicTime(nanoseconds: 179_999_999_999)
        let after = MonotonicTime(nanoseconds: 180_000_000_000)
        #expect(a.canSend(before) && a.canReceive(before) && !a.canSend(after) && !a.canReceive(after))
    }

    @Test func `many threads seal with one keypair and use no counter twice`() async throws {
        let (a, b) = try pair()
        let messages = await withTaskGroup(of: [[UInt8]].self) { group in
            for _ in 0..<4 { group.addTask { (0..<500).compactMap { _ in seal(a, [1, 2, 3], padded: 16) } } }
            return await group.reduce(into: []) { $0 += $1 }
        }
        #expect(Set(messages.map { Array($0[8..<16]) }).count == 2000)
        #expect(messages.allSatisfy { open(b, $0, counter: UInt64($0[8]) | UInt64($0[9]) << 8) != nil })
    }
}
