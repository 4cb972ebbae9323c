import JSON
import Kubernetes
import Synchronization

/// The nodes and pods of the cluster as the API server told of them last, in the little that is needed of each. Safe from
/// any task.
final class ClusterView: Sendable {
    struct Snapshot: Sendable {
        var nodes: [String: NodeView] = [:]
        /// By namespace and name; of others than ours only those that have asked to be agents.
        var pods: [String: PodView] = [:]
        var hasNodes = false
        var hasPods = false

        /// Whether all has been told once.
        var isComplete: Bool { hasNodes && hasPods }
    }

    private let state = Mutex(Snapshot())
    private let keepsPod: @Sendable (JSONValue, PodView) -> Bool

    /// - Parameter keepsPod: whether a pod is of interest at all.
    init(keepsPod: @escaping @Sendable (JSONValue, PodView) -> Bool) { self.keepsPod = keepsPod }

    var snapshot: Snapshot { state.withLock { $0 } }

    func takeNode(_ event: WatchEvent) {
        state.withLock { state in
            switch event {
            case .listed(let objects):
                state.nodes = Dictionary(objects.compactMap(NodeView.init).map { ($0.name, $0) }) { $1 }
                state.hasNodes = true
            case .added(let object), .modified(let object):
                if let node = NodeView(object) { state.nodes[node.name] = node }
            case .deleted(let object):
                if let node = NodeView(object) { state.nodes[node.name] = nil }
            }
        }
    }

    func takePod(_ event: WatchEvent) {
        state.withLock { state in
            switch event {
            case .listed(let objects):
                state.pods = [:]
                for object in objects { keep(object, &state) }
                state.hasPods = true
            case .added(let object), .modified(let object): keep(object, &state)
            case .deleted(let object): if let pod = PodView(object) { state.pods[Self.key(pod)] = nil }
            }
        }
    }

    private func keep(_ object: JSONValue, _ state: inout Snapshot) {
        guard let pod = PodView(object) else { return }
        state.pods[Self.key(pod)] = keepsPod(object, pod) ? pod : nil
    }

    private static func key(_ pod: PodView) -> String { "\(pod.namespace)/\(pod.name)" }
}
