import Addressing
import Glibc
import Sodium
import TestSupport
import Testing
import Timing
import WireGuard

/// What the device adds to the AEAD itself, per packet of 1,420 bytes.
@Suite(.serialized) struct OverheadTests {
    private static let size = 1420
    private static let rounds = 500

    private func nanoseconds(_ body: () -> Void) -> Double {
        // The thread's own time: others use the machine too.
        func used() -> Double {
            var time = timespec()
            _ = unsafe clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
            return Double(time.tv_sec) * 1e9 + Double(time.tv_nsec)
        }
        let start = used()
        body()
        return (used() - start) / Double(Self.rounds)
    }

    @Test func `a handshake costs well below a millisecond for both ends`() throws {
        let pair = try Pair()
        var best = Double.infinity
        for _ in 0..<50 {
            pair.clock.advance(.seconds(6))
            try pair.a.shakeHands(with: pair.b)
            best = min(best, nanoseconds { pair.settle() } * Double(Self.rounds))
            let isComplete = pair.a.events().contains(.handshakeCompleted(try pair.a.peer(pair.b), asInitiator: true))
            #expect(isComplete)
        }
        print("handshake, answer and completion: \(Int(best / 1000)) us (the initiation not counted)")
    }

    @Test func `sealing and opening a packet costs little more than the AEAD`() throws {
        let pair = try Pair()
        try pair.connect()
        let (now, wall) = (pair.clock.now, pair.clock.wall)
        let inner = try pair.toB([UInt8](repeating: 5, count: Self.size - 20))
        var random = SeededRandom(seed: 1)
        let key = try SecretKey(using: &random)
        let path = pair.a.path
        var datagram = [UInt8](repeating: 0, count: Self.size + 32)
        var failures = 0
        var (raw, whole) = (Double.infinity, Double.infinity)
        for _ in 0..<30 {
            raw = min(
                raw,
                unsafe datagram.withUnsafeMutableBufferPointer { datagram in
                    unsafe inner.withUnsafeBufferPointer { inner in
                        nanoseconds {
                            let body = unsafe datagram.baseAddress! + 16
                            let empty = unsafe UnsafeRawBufferPointer(start: nil, count: 0)
                            for counter in 0..<UInt64(Self.rounds) {
                                unsafe ChaChaPoly.seal(
                                    inner.baseAddress, count: Self.size, additionalData: empty, counter: counter,
                                    key: key,
                                    into: body)
                                let isAuthentic = unsafe ChaChaPoly.open(
                                    body, count: Self.size + 16, additionalData: empty, counter: counter, key: key,
                                    into: body)
                                if !isAuthentic { failures += 1 }
                            }
                        }
                    }
                })
            whole = min(
                whole,
                unsafe datagram.withUnsafeMutableBytes { datagram in
                    unsafe inner.withUnsafeBytes { inner in
                        nanoseconds {
                            for _ in 0..<Self.rounds {
                                let sealed = unsafe pair.a.device.encapsulate(
                                    inner, into: datagram, now: now, wall: wall)
                                guard case .sealed = sealed else { return failures += 1 }
                                let opened = unsafe pair.b.device.decapsulate(
                                    datagram, from: path, now: now, wall: wall)
                                guard case .packet = opened else { return failures += 1 }
                            }
                        }
                    }
                })
        }
        #expect(failures == 0)
        print("seal and open 1,420 bytes: AEAD alone \(Int(raw)) ns, through two devices \(Int(whole)) ns")
        #if !DEBUG
            #expect(whole < raw * 1.25, "more than a quarter on top of the AEAD")
        #endif
    }
}
