import Foundation

/// What `Programs/witness.py` was called with.
struct Witness: Decodable {
    let verb: String
    let container: String
    let netns: String
    let hasPrevious: Bool
    let keys: [String]

    static func calls(on node: Node) throws -> [Witness] { try calls(in: node.root + Conflist.witnessLog) }

    static func calls(in log: String) throws -> [Witness] {
        let lines = (FileManager.default.contents(atPath: log) ?? Data()).split(separator: 0x0a)
        return try lines.map { try JSONDecoder().decode(Witness.self, from: Data($0)) }
    }
}
