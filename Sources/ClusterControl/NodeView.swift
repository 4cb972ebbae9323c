import JSON

/// What the controller needs to know of a node.
struct NodeView: Equatable, Sendable {
    /// The taint that keeps pods away from nodes that can't make them agents. The controller alone sets and removes it;
    /// the kubelet may register its node with it.
    static let taint = "warren.dev/not-ready"
    static let effect = "NoSchedule"

    let name: String
    let labels: [String: String]
    let taints: [JSONValue]
    let version: String

    /// Nil for what is no node.
    init?(_ object: JSONValue) {
        guard let name = object["metadata"]?["name"]?.text,
            let version = object["metadata"]?["resourceVersion"]?.text
        else { return nil }
        self.name = name
        self.version = version
        labels = object["metadata"]?["labels"]?.strings ?? [:]
        taints = object["spec"]?["taints"]?.elements ?? []
    }

    var isTainted: Bool { taints.contains(where: Self.isOurs) }

    private static func isOurs(_ taint: JSONValue) -> Bool {
        taint["key"]?.text == Self.taint && taint["effect"]?.text == effect
    }

    /// A JSON Patch that sets or removes our taint, and fails when the node has changed since it was looked at: taints are
    /// a list without names.
    func patch(isTainted: Bool) -> JSONValue {
        var taints = taints.filter { !Self.isOurs($0) }
        if isTainted { taints.append(["key": .string(Self.taint), "effect": .string(Self.effect)]) }
        return [
            ["op": "test", "path": "/metadata/resourceVersion", "value": .string(version)],
            ["op": "add", "path": "/spec/taints", "value": .array(taints)],
        ]
    }
}

extension JSONValue {
    /// An object's members that are text.
    var strings: [String: String] {
        Dictionary((members ?? []).compactMap { member in member.value.text.map { (member.name, $0) } }) { $1 }
    }
}
