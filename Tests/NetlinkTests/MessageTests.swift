import Addressing
import Testing

@testable import Netlink

/// The bytes of each request, against hand-annotated dumps (all numbers little-endian, as on every machine we run on).
@Suite struct MessageTests {
    private let link = Link(index: 3, name: "warren0")

    private func bytes(_ message: Message, sequence: UInt32 = 7) -> String {
        var message = message
        message.sequence = sequence
        return Hexadecimal.encode(message.bytes)
    }

    private func hex(_ parts: String...) -> String { parts.joined().filter { $0 != " " } }

    @Test func `a get by name carries the name with its NUL`() throws {
        #expect(
            try bytes(Link.get(named: "lo"))
                == hex(
                    "28000000 1200 0500 07000000 00000000",  // 40 bytes, RTM_GETLINK, REQUEST|ACK, sequence 7
                    "00 00 0000 00000000 00000000 00000000",  // ifinfomsg: any family, type, index, flags, change
                    "0700 0300 6c6f00 00"))  // IFLA_IFNAME "lo\0", padding
    }

    @Test func `setting a link up changes exactly IFF_UP`() {
        #expect(
            bytes(link.settingUp())
                == hex(
                    "20000000 1000 0500 07000000 00000000",  // RTM_NEWLINK, REQUEST|ACK
                    "00 00 0000 03000000 01000000 01000000"))  // index 3, flags IFF_UP, change IFF_UP
    }

    @Test func `an MTU is one attribute`() throws {
        #expect(
            try bytes(link.setting(mtu: 1400))
                == hex(
                    "28000000 1000 0500 07000000 00000000", "00 00 0000 03000000 00000000 00000000",
                    "0800 0400 78050000"))  // IFLA_MTU 1400
    }

    @Test func `no link-local address is a nest of two`() throws {
        #expect(
            try bytes(link.withoutLinkLocalAddress())
                == hex(
                    "30000000 1000 0500 07000000 00000000", "00 00 0000 03000000 00000000 00000000",
                    "1000 1a80",  // IFLA_AF_SPEC, nested
                    "0c00 0a80",  // AF_INET6, nested
                    "0500 0800 01 000000"))  // IFLA_INET6_ADDR_GEN_MODE none, padding
    }

    @Test func `deleting names the index only`() {
        #expect(
            bytes(link.deleting())
                == hex("20000000 1100 0500 07000000 00000000", "00 00 0000 03000000 00000000 00000000"))
    }

    @Test func `an IPv4 address is local and peer at once`() throws {
        let address = Address(prefix: IPPrefix("10.9.0.7/24")!, linkIndex: 2)
        #expect(
            try bytes(address.adding())
                == hex(
                    "28000000 1400 0506 07000000 00000000",  // RTM_NEWADDR, REQUEST|ACK|EXCL|CREATE
                    "02 18 00 00 02000000",  // AF_INET, /24, flags, scope, index 2
                    "0800 0200 0a090007",  // IFA_LOCAL
                    "0800 0100 0a090007"))  // IFA_ADDRESS
    }

    @Test func `an IPv6 address goes without duplicate address detection`() throws {
        let address = Address(prefix: IPPrefix("fd00::7/128")!, linkIndex: 2)
        #expect(
            try bytes(address.adding())
                == hex(
                    "48000000 1400 0506 07000000 00000000", "0a 80 00 00 02000000",  // AF_INET6, /128
                    "1400 0200 fd000000000000000000000000000007",  // IFA_LOCAL
                    "1400 0100 fd000000000000000000000000000007",  // IFA_ADDRESS
                    "0800 0800 02000000"))  // IFA_FLAGS: IFA_F_NODAD
    }

    @Test func `an IPv4 route without gateway has link scope, and its host bits are cleared`() throws {
        let route = Route(destination: IPPrefix("10.9.8.7/16")!, linkIndex: 2)
        #expect(
            try bytes(route.adding())
                == hex(
                    "2c000000 1800 0506 07000000 00000000",  // RTM_NEWROUTE, REQUEST|ACK|EXCL|CREATE
                    "02 10 00 00 fe 04 fd 01 00000000",  // AF_INET, /16, main, RTPROT_STATIC, link scope, unicast
                    "0800 0100 0a090000",  // RTA_DST
                    "0800 0400 02000000"))  // RTA_OIF
    }

    @Test func `a default route has no destination, and a high table goes into its attribute`() throws {
        let route = Route(
            destination: IPPrefix("0.0.0.0/0")!, gateway: IPAddress("10.9.0.1"), linkIndex: 2, table: 1000, priority: 5)
        #expect(
            try bytes(route.adding())
                == hex(
                    "3c000000 1800 0506 07000000 00000000",
                    "02 00 00 00 fc 04 00 01 00000000",  // /0, RT_TABLE_COMPAT, universe scope
                    "0800 0400 02000000",  // RTA_OIF
                    "0800 0500 0a090001",  // RTA_GATEWAY
                    "0800 0600 05000000",  // RTA_PRIORITY
                    "0800 0f00 e8030000"))  // RTA_TABLE 1000
    }

    @Test func `a veth pair names its peer's namespace`() throws {
        #expect(
            try bytes(Link.creatingVeth("a0", peer: "b0", peerNamespace: 5))
                == hex(
                    "60000000 1000 0506 07000000 00000000", "00 00 0000 00000000 00000000 00000000",
                    "0700 0300 613000 00",  // IFLA_IFNAME "a0\0"
                    "3800 1280",  // IFLA_LINKINFO, nested
                    "0900 0100 7665746800 000000",  // IFLA_INFO_KIND "veth\0"
                    "2800 0280",  // IFLA_INFO_DATA, nested
                    "2400 0180",  // VETH_INFO_PEER, nested
                    "00 00 0000 00000000 00000000 00000000",  // the peer's ifinfomsg
                    "0700 0300 623000 00",  // IFLA_IFNAME "b0\0"
                    "0800 1c00 05000000"))  // IFLA_NET_NS_FD 5
    }

    @Test func `what does not fit a message is refused`() {
        #expect(throws: NetlinkError.requestTooLong) {
            try Link.get(named: String(repeating: "x", count: Message.capacity))
        }
    }
}
