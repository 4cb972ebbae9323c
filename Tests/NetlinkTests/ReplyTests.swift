import Addressing
import Linux
import TestSupport
import Testing

@testable import Netlink

@Suite struct ReplyTests {
    private func bytes(_ parts: String...) throws -> [UInt8] {
        try #require(Hexadecimal.decode(parts.joined().filter { $0 != " " }))
    }

    @Test func `an error's code and extended-ack text are found after a capped request`() throws {
        let datagram = try bytes(
            "30000000 0200 0003 07000000 2a000000",  // NLMSG_ERROR, CAPPED|ACK_TLVS
            "eeffffff",  // -18, EXDEV
            "28000000 1000 0500 07000000 00000000",  // the request's header
            "0c00 0100 6261642073686f00")  // NLMSGERR_ATTR_MSG "bad sho"
        let reply = try #require(Reply.split(datagram)?.first)
        #expect(reply.end == Reply.End(code: 18, text: "bad sho"))
        #expect(reply.sequence == 7 && reply.port == 42)
    }

    @Test func `an error's text is found behind the whole request`() throws {
        let datagram = try bytes(
            "34000000 0200 0002 07000000 2a000000",  // NLMSG_ERROR, ACK_TLVS
            "efffffff",  // -17, EEXIST
            "18000000 1000 0500 07000000 00000000", "0000000000000000",  // the request, 24 bytes
            "0700 0100 6e6f00 00")  // NLMSGERR_ATTR_MSG "no"
        #expect(Reply.split(datagram)?.first?.end == Reply.End(code: 17, text: "no"))
    }

    @Test func `an acknowledgement is an error of zero`() throws {
        let datagram = try bytes(
            "24000000 0200 0001 07000000 2a000000", "00000000", "28000000 1000 0500 07000000 00000000")
        #expect(Reply.split(datagram)?.first?.end == Reply.End(code: 0, text: nil))
    }

    @Test func `an error cut off before its code is an error`() throws {
        let reply = try #require(Reply.split(bytes("12000000 0200 0000 07000000 2a000000 0000 0000"))?.first)
        #expect(reply.end?.code == 74)
    }

    @Test func `a message longer than its datagram is refused`() throws {
        #expect(Reply.split(try bytes("30000000 0200 0000 07000000 2a000000 00000000")) == nil)
        #expect(Reply.split(try bytes("08000000 0200 0000 07000000 2a000000")) == nil)
        #expect(Reply.split(try bytes("14000080 0200 0000 07000000 2a000000 00000000")) == nil)  // not negative
        #expect(Reply.split(try bytes("1000")) == nil)
        #expect(Reply.split([])?.isEmpty == true)
    }

    @Test func `an address without IFA_LOCAL is read from IFA_ADDRESS`() throws {
        let datagram = try bytes(
            "34000000 1400 0200 07000000 2a000000", "0a 40 80 00 05000000",  // AF_INET6, /64, permanent, index 5
            "1400 0100 fd000000000000000000000000000007",  // IFA_ADDRESS
            "0800 0800 c0000000")  // IFA_FLAGS: PERMANENT|TENTATIVE
        let address = try #require(Reply.split(datagram)?.first.flatMap { Address($0) })
        #expect(address == Address(prefix: IPPrefix("fd00::7/64")!, linkIndex: 5, isTentative: true))
    }

    @Test func `a prefix length that does not fit the family is refused`() throws {
        let datagram = try bytes(
            "20000000 1400 0200 07000000 2a000000", "02 21 80 00 05000000",  // AF_INET, /33
            "0800 0100 0a000001")
        #expect(Reply.split(datagram)?.first.flatMap { Address($0) } == nil)
    }

    @Test func `a route of another address family is not a route of ours`() throws {
        let datagram = try bytes(
            "1c000000 1800 0200 07000000 2a000000", "07 00 00 00 fe 04 00 01 00000000")  // AF_BRIDGE
        #expect(Reply.split(datagram)?.first.flatMap { Route($0) } == nil)
    }

    @Test func `damaged messages are parsed or refused, never overrun`() throws {
        var random = SeededRandom(seed: 0x77a6_6e01)
        let good = try bytes(
            "34000000 1400 0200 07000000 2a000000", "0a 40 80 00 05000000",
            "1400 0100 fd000000000000000000000000000007", "0800 0800 c0000000")
        for _ in 0..<20_000 {
            var damaged = Array(good.prefix(Int(random.next() % UInt64(good.count + 1))))
            for _ in 0..<(random.next() % 4) where !damaged.isEmpty {
                damaged[Int(random.next() % UInt64(damaged.count))] = UInt8(truncatingIfNeeded: random.next())
            }
            for reply in Reply.split(damaged) ?? [] {
                #expect(reply.payload.count <= damaged.count)
                _ = (Link(reply), Address(reply), Route(reply), reply.end)
            }
        }
    }

    @Test func `errors name operation, subject, number and the kernel's text`() {
        let error = NetlinkError.refused(
            operation: "set address 10.9.0.7/24 on warren0", errno: .exists, text: "IPv4: Address already assigned")
        #expect(
            error.description
                == "set address 10.9.0.7/24 on warren0: EEXIST (File exists): IPv4: Address already assigned")
    }
}
