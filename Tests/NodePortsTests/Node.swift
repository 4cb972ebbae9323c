import Addressing
import Glibc
import Linux
import Netlink
import TestSupport

@testable import NodePorts

/// A node of its own for each test: a network namespace and a store.
final class Node: Sendable {
    let place: ScratchNamespace
    let folder: ScratchFolder
    let map: PortMap
    static let plan = try? PortPlan(range: 31000...31999, podPort: 51820)

    init() throws {
        place = try ScratchNamespace()
        folder = try ScratchFolder()
        map = PortMap(folder: folder.path)
    }

    static func pod(_ number: Int) -> IPv4Address { IPv4Address(10, 1, UInt8(number / 256), UInt8(number % 256)) }

    static func holder(_ number: Int, network: String = "mesh") -> PortHolder {
        PortHolder(network: network, containerID: "container\(number)", ifName: "eth0")
    }

    @discardableResult
    func assign(_ number: Int, _ plan: PortPlan) throws -> NodePort {
        let map = map
        return try place.run { try map.assign(to: Self.pod(number), holder: Self.holder(number), plan: plan) }
    }

    @discardableResult
    func release(_ number: Int) throws -> NodePort? {
        let map = map
        return try place.run { try map.release(Self.holder(number)) }
    }

    @discardableResult
    func nft(_ words: String..., input: String = "") throws -> String {
        try Command.run(["nft"] + words, in: place.path, input: input)
    }

    /// The elements of one of our sets, as nft prints them.
    func elements(of set: String) throws -> [String] {
        let isMap = [Ruleset.outbound, Ruleset.inbound].contains(set)
        let text = try nft("list", isMap ? "map" : "set", "ip", "warren", set)
        guard let start = text.firstRange(of: "elements = {")?.upperBound else { return [] }
        let list = text[start...].prefix { $0 != "}" }
        return list.split(separator: ",").map { String($0.trimming()) }.sorted()
    }

    /// The records of the store.
    var ports: [String] { folder.names("").filter { UInt16($0) != nil } }
}

extension Substring {
    func trimming() -> Substring {
        var text = self
        while text.first?.isWhitespace == true { text.removeFirst() }
        while text.last?.isWhitespace == true { text.removeLast() }
        return text
    }
}
