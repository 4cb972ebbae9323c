package import Addressing
import Directory
package import Membership
import Sodium
package import Timing

/// A block that this node has, until when, and from whom: what is kept for the next run.
package struct HeldBlock: Equatable, Sendable {
    package let block: NodeBlock
    /// The end of the lease; from then on the block may be another node's.
    package let expires: WallTime
    let authority: AuthorityName
    /// The node's name, as the hub knows it.
    let node: String

    init(block: NodeBlock, expires: WallTime, authority: AuthorityName, node: String) {
        self.block = block
        self.expires = expires
        self.authority = authority
        self.node = node
    }

    /// What the hub answered, if it is a block.
    init(_ leased: AuthorityClient.Leased, authority: AuthorityName, node: String) throws(LeaseError) {
        let (block, expires) = (leased.block, leased.expires)
        guard block.isSound else {
            throw .unusable(
                "lease an address block: the hub's answer, \(block.ipv6), is no block of number \(block.number)")
        }
        self.init(block: block, expires: expires, authority: authority, node: node)
    }

    package func isLive(at now: WallTime) -> Bool { now < expires }

    /// The same, with the lease at its end.
    func ended(at now: WallTime) -> HeldBlock {
        HeldBlock(block: block, expires: min(expires, now), authority: authority, node: node)
    }

    /// The mesh's IPv6 /48.
    package var mesh: IPPrefix? { IPPrefix(block.ipv6.address, length: 48)?.masked }

    // MARK: - The file of the next run

    var json: JSONValue {
        .object(
            [
                .init("mesh", .string(authority.mesh)),
                .init("authority", .string(Base64.encodeURL(authority.key.bytes))),
                .init("node", .string(node)), .init("number", .number(UInt64(block.number))),
                .init("ipv6", .string("\(block.ipv6)")), .init("exp", .numericDate(expires.seconds)),
            ] + (block.ipv4.map { [.init("ipv4", .string("\($0)"))] } ?? []))
    }

    /// Nil for what no run of ours has written.
    init?(json: JSONValue) {
        guard let mesh = json["mesh"]?.string,
            let key = json["authority"]?.string.flatMap({ Base64.decodeURL($0) }).flatMap({ Bytes32($0) }),
            let node = json["node"]?.string, let number = json["number"]?.number.flatMap({ UInt16(exactly: $0) }),
            let ipv6 = json["ipv6"]?.string.flatMap({ IPPrefix($0) }), let expires = json["exp"]?.numericDate
        else { return nil }
        var ipv4: IPPrefix?
        if let text = json["ipv4"]?.string {
            guard let prefix = IPPrefix(text) else { return nil }
            ipv4 = prefix
        }
        let block = NodeBlock(number: number, ipv6: ipv6, ipv4: ipv4)
        guard block.isSound else { return nil }
        self.init(
            block: block, expires: WallTime(seconds: expires), authority: AuthorityName(mesh: mesh, key: key),
            node: node)
    }
}

extension NodeBlock {
    /// The prefixes are networks of the right families and sizes, and the number is the one in the IPv6 prefix.
    fileprivate var isSound: Bool {
        guard number > 0, ipv6.length == 64, ipv6.masked == ipv6, case .v6(let six) = ipv6.address,
            UInt16(truncatingIfNeeded: six.high) == number
        else { return false }
        guard let ipv4 else { return true }
        return !ipv4.address.isIPv6 && (1...30).contains(ipv4.length) && ipv4.masked == ipv4
    }
}
