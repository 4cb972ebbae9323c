import Addressing
import TestSupport
import Testing

@testable import Tunnel

/// Against packets that another implementation (40 lines of Python from the RFCs) made.
@Suite struct ICMPErrorTests {
    /// UDP 10.77.0.1:1234 -> 10.77.0.2:53, and the same between fd77::1 and fd77::2.
    static let inner4 = "4500001c0000400040110000" + "0a4d0001" + "0a4d0002" + "04d2003500080000"
    static let inner6 =
        "6000000000081140" + "fd770000000000000000000000000001" + "fd770000000000000000000000000002"
        + "04d2003500080000"
    /// From 10.77.0.2 to 10.77.0.1, ttl 64, protocol 1.
    static let header4 = "45000038000000004001" + "6629" + "0a4d0002" + "0a4d0001"
    /// From fd77::2 to fd77::1, next header 58, hop limit 64.
    static let header6 =
        "6000000000383a40" + "fd770000000000000000000000000002" + "fd770000000000000000000000000001"

    private func answer(_ error: ICMPError, to packet: [UInt8]) -> [UInt8]? {
        unsafe packet.withUnsafeBytes { unsafe error.answer(to: $0) }
    }

    private func packet(_ text: String, _ changes: [Int: UInt8] = [:]) throws -> [UInt8] {
        var bytes = try #require(Hexadecimal.decode(text))
        for (offset, byte) in changes { bytes[offset] = byte }
        return bytes
    }

    @Test(arguments: [
        // type 3 code 1, checksum, unused
        (ICMPError.addressUnreachable, inner4, header4 + "0301" + "1e25" + "00000000"),
        // type 3 code 4, checksum, unused, next-hop MTU 1280
        (.packetTooBig(mtu: 1280), inner4, header4 + "0304" + "1922" + "0000" + "0500"),
        // type 1 code 3
        (.addressUnreachable, inner6, header6 + "0103" + "924d" + "00000000"),
        // type 2 code 0, MTU 1280
        (.packetTooBig(mtu: 1280), inner6, header6 + "0200" + "8c50" + "00000500"),
    ])
    func `an error is byte for byte what the RFCs say`(error: ICMPError, inner: String, expected: String) throws {
        #expect(answer(error, to: try packet(inner)) == (try packet(expected + inner)))
    }

    @Test func `a long packet is quoted in part`() throws {
        let v4 = try #require(
            answer(.addressUnreachable, to: try packet(Self.inner4) + [UInt8](repeating: 1, count: 9000)))
        #expect(v4.count == 20 + 8 + 28)
        let v6 = try #require(
            answer(.addressUnreachable, to: try packet(Self.inner6) + [UInt8](repeating: 1, count: 9000)))
        #expect(v6.count == 1280)
    }

    @Test func `a packet size beyond the field is clamped`() throws {
        let answer = try #require(answer(.packetTooBig(mtu: 1 << 40), to: try packet(Self.inner4)))
        #expect(Array(answer[26..<28]) == [0xff, 0xff])
    }

    @Test(
        arguments: [
            ("an echo request", [9: 1, 20: 8], true), ("a destination unreachable", [9: 1, 20: 3], false),
            ("a redirect", [9: 1, 20: 5], false), ("a time exceeded", [9: 1, 20: 11], false),
            ("the first fragment", [6: 0x20], true), ("a later fragment", [7: 1], false),
            ("a late fragment", [6: 0x10], false),
            ("a packet to a group", [16: 224], false), ("a packet to everybody", [16: 255], false),
            ("a packet from nobody", [12: 0], false), ("a packet from a group", [12: 224], false),
            ("a packet from loopback", [12: 127], false), ("a header length of 4", [0: 0x44], false),
            ("a header that is not all there", [0: 0x4f], false), ("another version", [0: 0x55], false),
        ] as [(String, [Int: UInt8], Bool)])
    func `IPv4 has an answer only where RFC 1122 allows one`(what: String, changes: [Int: UInt8], isAnswered: Bool)
        throws
    {
        #expect((answer(.addressUnreachable, to: try packet(Self.inner4, changes)) != nil) == isAnswered, "\(what)")
    }

    @Test(
        arguments: [
            ("an echo request", [6: 58, 40: 128], true), ("an unreachable", [6: 58, 40: 1], false),
            ("a packet too big", [6: 58, 40: 2], false), ("a redirect", [6: 58, 40: 137], false),
            ("a packet to a group", [24: 0xff], false), ("a packet from a group", [8: 0xff], false),
            ("a packet from nobody", [8: 0, 9: 0, 23: 0], false),
            ("an unknown protocol", [6: 200], true), ("an extension header that is cut", [6: 0, 40: 17, 41: 1], true),
            ("an error behind an extension header that is cut", [6: 60, 40: 58, 41: 0], false),
        ] as [(String, [Int: UInt8], Bool)])
    func `IPv6 has an answer only where RFC 4443 allows one`(what: String, changes: [Int: UInt8], isAnswered: Bool)
        throws
    {
        #expect((answer(.addressUnreachable, to: try packet(Self.inner6, changes)) != nil) == isAnswered, "\(what)")
    }

    @Test func `an ICMPv6 error behind extension headers has no answer`() throws {
        let header = try packet(Self.inner6)[..<40]
        // Hop-by-hop, destination options of 16 bytes, then ICMPv6.
        let extensions: [UInt8] = [60, 0, 0, 0, 0, 0, 0, 0] + [58, 1] + [UInt8](repeating: 0, count: 14)
        for (type, isAnswered) in [(1, false), (128, true)] as [(UInt8, Bool)] {
            var packet = Array(header) + extensions + [type, 0, 0, 0]
            packet[6] = 0
            #expect((answer(.addressUnreachable, to: packet) != nil) == isAnswered)
        }
    }

    @Test func `whatever the packet is, nothing traps`() throws {
        var random = SeededRandom(seed: 13)
        for _ in 0..<50_000 {
            var packet = (0..<Int.random(in: 0...120, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            if let first = packet.first { packet[0] = Bool.random(using: &random) ? 0x60 : 0x40 | first & 15 }
            if packet.count > 6 { packet[6] = [0, 43, 44, 58, 60, 17].randomElement(using: &random) ?? 0 }
            if let error = answer(.packetTooBig(mtu: .max), to: packet) { #expect(error.count <= 1280) }
        }
    }
}
