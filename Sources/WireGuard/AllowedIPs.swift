package import Addressing

/// The cryptokey routing table: which peer a prefix belongs to (WireGuard paper 2), for both families.
///
/// A path-compressed binary trie a family, with the nodes in one array. The longest prefix wins; a prefix has one owner,
/// so inserting it for another peer moves it. Owners are peers' slots, small numbers from 0. The zero value is empty.
/// Not safe for concurrent use.
package struct AllowedIPs {
    private static let none: Int32 = -1

    /// A prefix with an owner, or a fork between two of those.
    struct Node {
        var high: UInt64
        var low: UInt64
        var maskHigh: UInt64
        var maskLow: UInt64
        var length: Int32
        /// The slot of the owner, or none.
        var owner: Int32
        var children: (Int32, Int32) = (none, none)
        var parent: Int32
        /// The list of the nodes of one owner.
        var nextOfOwner: Int32 = none
        var previousOfOwner: Int32 = none
        var isIPv6: Bool

        func contains(_ high: UInt64, _ low: UInt64) -> Bool {
            ((self.high ^ high) & maskHigh) | ((self.low ^ low) & maskLow) == 0
        }

        /// Which child an address below this node is under.
        func side(_ high: UInt64, _ low: UInt64) -> Bool {
            length < 64 ? (high >> UInt64(63 - length)) & 1 == 1 : (low >> UInt64(127 - length)) & 1 == 1
        }

        func child(_ side: Bool) -> Int32 { side ? children.1 : children.0 }

        mutating func setChild(_ side: Bool, _ node: Int32) {
            if side { children.1 = node } else { children.0 = node }
        }
    }

    private var nodes: [Node] = []
    private var free: [Int32] = []
    private var rootIPv4 = none
    private var rootIPv6 = none
    /// By owner, its first node.
    private var heads: [Int32] = []
    /// How many prefixes there are.
    package private(set) var count = 0

    package init() {}

    /// The slot that `address` belongs to; nil when no prefix contains it.
    package func owner(of address: IPAddress) -> Int? {
        let bits = Self.bits(address)
        let owner = lookup(high: bits.high, low: bits.low, isIPv6: address.isIPv6)
        return owner < 0 ? nil : Int(owner)
    }

    /// The same without optionals, for packets: negative when there is none.
    func lookup(high: UInt64, low: UInt64, isIPv6: Bool) -> Int32 {
        unsafe nodes.withUnsafeBufferPointer {
            unsafe Self.lookup(high: high, low: low, isIPv6: isIPv6, root: root(isIPv6: isIPv6), nodes: $0)
        }
    }

    /// The node that look-ups of a family begin at; negative when it has no prefix.
    func root(isIPv6: Bool) -> Int32 { isIPv6 ? rootIPv6 : rootIPv4 }

    /// A copy of the nodes, for look-ups elsewhere. The caller frees it.
    func copyNodes() -> UnsafeMutableBufferPointer<Node> {
        let copy = UnsafeMutableBufferPointer<Node>.allocate(capacity: nodes.count)
        _ = unsafe copy.initialize(from: nodes)
        return unsafe copy
    }

    /// The owner of the longest prefix that contains the address; negative when there is none.
    @inline(__always)
    static func lookup(
        high: UInt64, low: UInt64, isIPv6: Bool, root: Int32, nodes: UnsafeBufferPointer<Node>
    ) -> Int32 {
        var best = none
        var index = root
        let width: Int32 = isIPv6 ? 128 : 32
        while index >= 0, Int(index) < nodes.count {
            let node = unsafe nodes[Int(index)]
            guard node.contains(high, low) else { break }
            if node.owner >= 0 { best = node.owner }
            if node.length == width { break }
            index = node.child(node.side(high, low))
        }
        return best
    }

    /// The prefixes of one owner, host bits zero, in order.
    package func prefixes(of owner: Int) -> [IPPrefix] {
        var prefixes: [IPPrefix] = []
        var index = owner < heads.count ? heads[owner] : Self.none
        while index >= 0 {
            let node = nodes[Int(index)]
            let address: IPAddress =
                node.isIPv6
                ? .v6(IPv6Address(high: node.high, low: node.low)) : .v4(IPv4Address(value: UInt32(node.high >> 32)))
            if let prefix = IPPrefix(address, length: Int(node.length)) { prefixes.append(prefix) }
            index = node.nextOfOwner
        }
        return prefixes.sorted()
    }

    private static func bits(_ address: IPAddress) -> (high: UInt64, low: UInt64) {
        switch address {
        case .v4(let v4): (UInt64(v4.value) << 32, 0)
        case .v6(let v6): (v6.high, v6.low)
        }
    }
}

// MARK: Changes

extension AllowedIPs {
    /// Gives `prefix` to `owner`, from whoever had it.
    package mutating func insert(_ prefix: IPPrefix, for owner: Int) {
        let prefix = prefix.masked
        let (high, low) = Self.bits(prefix.address)
        let isIPv6 = prefix.address.isIPv6
        let length = Int32(prefix.length)
        var parent = Self.none
        var index = isIPv6 ? rootIPv6 : rootIPv4
        while index >= 0 {
            let node = nodes[Int(index)]
            guard node.length <= length, node.contains(high, low) else { break }
            if node.length == length {
                setOwner(Int32(owner), of: index)
                return
            }
            parent = index
            index = node.child(node.side(high, low))
        }
        let added = makeNode(high, low, length, isIPv6: isIPv6)
        setOwner(Int32(owner), of: added)
        guard index >= 0 else {
            attach(added, to: parent, isIPv6: isIPv6)
            return
        }
        // What is in the way is either below the new prefix, or beside it: then a fork holds both.
        let other = nodes[Int(index)]
        let common = min(
            length, other.length,
            Int32(
                other.high != high
                    ? (other.high ^ high).leadingZeroBitCount : 64 + (other.low ^ low).leadingZeroBitCount))
        if common == length {
            attach(added, to: parent, isIPv6: isIPv6)
            attach(index, to: added, isIPv6: isIPv6)
        } else {
            let fork = makeNode(high, low, common, isIPv6: isIPv6)
            attach(fork, to: parent, isIPv6: isIPv6)
            attach(index, to: fork, isIPv6: isIPv6)
            attach(added, to: fork, isIPv6: isIPv6)
        }
    }

    /// Takes every prefix from `owner`.
    package mutating func removeAll(of owner: Int) {
        guard owner < heads.count else { return }
        while heads[owner] >= 0 {
            let index = heads[owner]
            setOwner(Self.none, of: index)
            prune(index)
        }
    }

    private mutating func setOwner(_ owner: Int32, of index: Int32) {
        let node = nodes[Int(index)]
        guard node.owner != owner else { return }
        if node.owner >= 0 {
            count -= 1
            if node.previousOfOwner >= 0 {
                nodes[Int(node.previousOfOwner)].nextOfOwner = node.nextOfOwner
            } else {
                heads[Int(node.owner)] = node.nextOfOwner
            }
            if node.nextOfOwner >= 0 { nodes[Int(node.nextOfOwner)].previousOfOwner = node.previousOfOwner }
        }
        nodes[Int(index)].owner = owner
        nodes[Int(index)].previousOfOwner = Self.none
        nodes[Int(index)].nextOfOwner = Self.none
        guard owner >= 0 else { return }
        count += 1
        while heads.count <= Int(owner) { heads.append(Self.none) }
        let head = heads[Int(owner)]
        nodes[Int(index)].nextOfOwner = head
        if head >= 0 { nodes[Int(head)].previousOfOwner = index }
        heads[Int(owner)] = index
    }

    /// Removes `index`, and then its parent, where neither owner nor fork needs them.
    private mutating func prune(_ index: Int32) {
        var index = index
        while index >= 0 {
            let node = nodes[Int(index)]
            guard node.owner < 0, node.children.0 < 0 || node.children.1 < 0 else { return }
            let child = max(node.children.0, node.children.1)
            replace(index, by: child)
            free.append(index)
            // With a child in its place the parent has as many children as before.
            index = child >= 0 ? Self.none : node.parent
        }
    }

    private mutating func replace(_ index: Int32, by child: Int32) {
        let node = nodes[Int(index)]
        if child >= 0 { nodes[Int(child)].parent = node.parent }
        if node.parent < 0 {
            if node.isIPv6 { rootIPv6 = child } else { rootIPv4 = child }
        } else {
            let isRight = nodes[Int(node.parent)].children.1 == index
            nodes[Int(node.parent)].setChild(isRight, child)
        }
    }

    private mutating func attach(_ index: Int32, to parent: Int32, isIPv6: Bool) {
        nodes[Int(index)].parent = parent
        if parent < 0 {
            if isIPv6 { rootIPv6 = index } else { rootIPv4 = index }
        } else {
            let node = nodes[Int(index)]
            let side = nodes[Int(parent)].side(node.high, node.low)
            nodes[Int(parent)].setChild(side, index)
        }
    }

    private mutating func makeNode(_ high: UInt64, _ low: UInt64, _ length: Int32, isIPv6: Bool) -> Int32 {
        // Smart shifts: by 64 gives zero.
        let maskHigh = UInt64.max << UInt64(64 - min(length, 64))
        let maskLow = UInt64.max << UInt64(128 - max(length, 64))
        let node = Node(
            high: high & maskHigh, low: low & maskLow, maskHigh: maskHigh, maskLow: maskLow, length: length,
            owner: Self.none, parent: Self.none, isIPv6: isIPv6)
        if let index = free.popLast() {
            nodes[Int(index)] = node
            return index
        }
        nodes.append(node)
        return Int32(nodes.count - 1)
    }

    /// How many nodes are in use: at most twice the prefixes.
    package var nodeCount: Int { nodes.count - free.count }
}
