import Addressing
import Linux
import Synchronization
import Testing
import WireGuard

@testable import Tunnel

@Suite struct NoteRingTests {
    private func put(_ ring: NoteRing, _ index: UInt32, _ payload: [UInt8]) -> Bool {
        var note = Note(.datagram)
        note.index = index
        return unsafe payload.withUnsafeBytes { unsafe ring.put(note, payload: $0) }
    }

    private func take(_ ring: NoteRing) -> (index: UInt32, payload: [UInt8])? {
        var taken: (UInt32, [UInt8])?
        let isTaken = unsafe ring.take { note, payload in taken = unsafe (note.index, Array(payload)) }
        #expect(isTaken == (taken != nil))
        return taken
    }

    @Test func `notes come out in order with their payloads`() {
        let ring = NoteRing()
        #expect(ring.isEmpty && take(ring) == nil)
        for index in UInt32(0)..<2000 {
            let payload = [UInt8](repeating: UInt8(truncatingIfNeeded: index), count: Int(index) * 7 % 1500)
            #expect(put(ring, index, payload))
            let taken = take(ring)
            #expect(taken?.index == index && taken?.payload == payload)
        }
        #expect(ring.isEmpty && ring.refused == 0)
    }

    @Test func `what does not fit is refused and counted, and what is in it stays whole`() {
        let ring = NoteRing()
        var accepted = 0
        while put(ring, UInt32(accepted), [UInt8](repeating: UInt8(accepted & 255), count: 1420)) { accepted += 1 }
        #expect(accepted > 80 && ring.refused == 1)
        #expect(!put(ring, 0, [UInt8](repeating: 0, count: 70_000)), "larger than half of the ring")
        for index in 0..<accepted {
            let taken = take(ring)
            #expect(
                taken?.index == UInt32(index) && taken?.payload == [UInt8](repeating: UInt8(index & 255), count: 1420))
        }
        #expect(take(ring) == nil && put(ring, 7, [1]))
    }

    @Test func `notes without payloads are limited too`() {
        let ring = NoteRing()
        var accepted = 0
        while ring.put(Note(.sent)) { accepted += 1 }
        #expect(accepted == 512)
    }

    @Test func `two threads pass a million bytes unchanged`() throws {
        let ring = NoteRing()
        let producer = try Thread(named: "producer") {
            var index: UInt32 = 0
            while index < 20_000 {
                let payload = [UInt8](repeating: UInt8(truncatingIfNeeded: index), count: Int(index % 97))
                if put(ring, index, payload) { index += 1 }
            }
        }
        var wrong = 0
        var expected: UInt32 = 0
        while expected < 20_000 {
            _ = unsafe ring.take { note, payload in
                let isRight =
                    unsafe note.index == expected && payload.count == Int(expected % 97)
                    && payload.allSatisfy { $0 == UInt8(truncatingIfNeeded: expected) }
                if !isRight { wrong += 1 }
                expected += 1
            }
        }
        producer.join()
        #expect(wrong == 0)
    }
}
