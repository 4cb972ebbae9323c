package import Addressing

/// Where this node's virtual addresses come from.
///
///     IPv6:  48 bits mesh | 16 bits node number | 64 bits hashed (`AddressIdentity`)
///     IPv4:  from a range, if there is one
package struct AddressPlan: Sendable {
    package let mesh: IPPrefix
    package let node: UInt16
    package let range: AddressRange?

    package init(_ conf: NetConf) throws(CNIError) {
        guard let text = conf.mesh else { throw .invalidConfiguration("read mesh: missing") }
        mesh = try Self.mesh(text)
        guard let number = conf.node else { throw .invalidConfiguration("read node: missing") }
        guard let node = UInt16(exactly: number) else {
            throw .invalidConfiguration("read node \(number): outside 0 to 65535")
        }
        self.node = node
        if let cidr = conf.ipv4Range {
            range = try AddressRange(cidr, start: conf.rangeStart, end: conf.rangeEnd)
        } else {
            guard conf.rangeStart == nil, conf.rangeEnd == nil else {
                throw .invalidConfiguration("read rangeStart and rangeEnd: there is no ipv4Range")
            }
            range = nil
        }
    }

    package static func mesh(_ text: String) throws(CNIError) -> IPPrefix {
        guard let mesh = IPPrefix(text), mesh.length == 48, mesh.address.isIPv6, !mesh.address.isRefusedAsTarget else {
            throw .invalidConfiguration("read mesh \(text): not a unicast IPv6 /48")
        }
        return mesh.masked
    }

    /// The node's /64.
    package var block: IPPrefix {
        guard case .v6(let base) = mesh.address else { return mesh }
        return IPPrefix(.v6(IPv6Address(high: base.high | UInt64(node), low: 0)), length: 64) ?? mesh
    }

    /// The IPv6 address of an attachment at a given attempt; another attempt gives another one.
    package func address(of identity: AddressIdentity, attempt: Int) -> IPv6Address {
        guard case .v6(let base) = block.address else { return .any }
        return IPv6Address(high: base.high, low: identity.interfaceIdentifier(attempt: attempt))
    }

    /// Why an address that was asked for is not ours to give; nil when it is.
    package func refusal(of address: IPAddress) -> String? {
        switch address {
        case .v6(let v6):
            if !block.contains(address) { return "not in this node's block \(block)" }
            if ResolverAddress.isOne(address) { return "the address of pods' resolvers" }
            return v6.low == 0 ? "the block's anycast address" : nil
        case .v4(let v4):
            guard let range else { return "no ipv4Range is configured" }
            return range.contains(v4) ? nil : "not in the range \(range)"
        }
    }
}
