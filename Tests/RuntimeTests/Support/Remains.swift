import Foundation
import Glibc
import Lab
import Testing

func isFolder(_ path: String) -> Bool {
    var status = stat()
    return unsafe stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
}

/// What pods have left on a node: empty when the last of them went without a trace.
enum Remains {
    /// Files of our store: locks, what was given out last, and what the rules were made from, are no pod's.
    static func records(in store: String) -> [String] { files(in: store).map { "record \($0)" } }

    private static func files(in folder: String) -> [String] {
        let kept = ["lock", "flows", "last", "rules"]
        return names(in: folder).filter { !kept.contains($0) && !$0.hasPrefix("last_reserved_ip.") }.flatMap { name in
            isFolder("\(folder)/\(name)") ? files(in: "\(folder)/\(name)") : ["\(folder)/\(name)"]
        }
    }

    /// Addresses that host-local has given out.
    static func primaryRecords(in store: String) -> [String] {
        files(in: store).map { "primary's record \($0)" }
    }

    /// Links, rules and conntrack entries in a node's network namespace. `run` executes a command there.
    ///
    /// - Parameter rules: whether those of the primary plugin count.
    static func network(
        besides links: Set<String>, rules countsRules: Bool = true, _ run: ([String]) throws -> Output
    ) throws -> [String] {
        let shown = try run(["ip", "-j", "link", "show"]).standardOutput
        let all = try JSONSerialization.jsonObject(with: Data(shown.utf8)) as? [[String: Any]] ?? []
        var left = all.compactMap { $0["ifname"] as? String }.filter { !links.contains($0) }.map { "link \($0)" }
        let rules = countsRules ? try run(["nft", "list", "ruleset"]).standardOutput : ""
        left += rules.split(separator: "\n").filter { $0.contains("CNI-") }
            .map { "rule \($0.trimmingCharacters(in: .whitespaces))" }
        // A pod is an element in each of the two maps; the table's sets are the node's.
        for map in ["outbound", "inbound"] {
            let listed = try run(["nft", "list", "map", "ip", "warren", map]).standardOutput
            if listed.contains("elements = ") { left.append("elements of the map \(map): \(listed)") }
        }
        // Only what is mapped from outside has its destination translated.
        let connections = try run(["conntrack", "-L", "--dst-nat"]).standardOutput
        return left + connections.split(separator: "\n").map { "conntrack entry \($0)" }
    }

    /// Everything on the node that a pod of it can leave.
    static func all(on node: Node) throws -> [String] {
        names(in: "\(node.root)/run/netns").map { "network namespace \($0)" }
            + records(in: node.root + Conflist.store) + primaryRecords(in: node.root + Conflist.primaryStore)
            + (try network(besides: ["lo", "wan"]) { try node.result(of: $0) })
            + ["containerd-shim", "conmon", "warrend"].flatMap { name in
                node.processes(name).map { "process \(name) \($0)" }
            }
    }
}

func expectNothingLeft(on node: Node) throws {
    let left = try Remains.all(on: node)
    #expect(left == [])
}
