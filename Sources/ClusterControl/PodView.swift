import Injection
import JSON

/// What the controller needs to know of a pod.
struct PodView: Equatable, Sendable {
    let namespace: String
    let name: String
    let uid: String
    let node: String?
    /// The object that makes another pod when this one goes; nil when nothing does.
    let owner: String?
    let isReady: Bool
    let isEnding: Bool
    let hasOptedIn: Bool
    let fault: Fault?

    /// Why an agent's pod is none.
    enum Fault: String, Equatable, Sendable {
        /// It runs, and has no sidecar: the webhook was not asked.
        case noSidecar = "NoSidecar"
        /// Its sidecar has found no interface, again and again: it was made while the node had no plugin.
        case noInterface = "NoInterface"

        var explanation: String {
            switch self {
            case .noSidecar:
                "it asks for the Warren sidecar and runs without: it was made past the injector, so its traffic is not protected"
            case .noInterface:
                "its Warren sidecar has no interface: the pod was made while its node had no working warren-cni, and no restart in place helps"
            }
        }
    }

    /// The sidecar's exit status when only another pod helps.
    private static let noInterfaceStatus: Int64 = 69
    private static let leastRestarts: Int64 = 2

    /// Nil for what is no pod.
    init?(_ object: JSONValue) {
        guard let metadata = object["metadata"], let name = metadata["name"]?.text,
            let namespace = metadata["namespace"]?.text, let uid = metadata["uid"]?.text
        else { return nil }
        self.name = name
        self.namespace = namespace
        self.uid = uid
        let (spec, status) = (object["spec"], object["status"])
        node = spec?["nodeName"]?.text
        owner = metadata["ownerReferences"]?.elements?.first { $0["controller"]?.flag == true }?["uid"]?.text
        isEnding = metadata["deletionTimestamp"] != nil
        isReady =
            status?["conditions"]?.elements?.contains { $0["type"]?.text == "Ready" && $0["status"]?.text == "True" }
            ?? false
        let label = metadata["labels"]?[Names.inject]?.text
        let annotations = metadata["annotations"]?.strings ?? [:]
        hasOptedIn = label == Names.enabled || label != Names.disabled && annotations[Names.injected] != nil
        let isMirror = annotations["kubernetes.io/config.mirror"] != nil
        fault = hasOptedIn && !isMirror && !isEnding ? Self.fault(spec, status) : nil
    }

    private static func fault(_ spec: JSONValue?, _ status: JSONValue?) -> Fault? {
        let lists = ["initContainers", "containers"].flatMap { spec?[$0]?.elements ?? [] }
        guard lists.contains(where: { $0["name"]?.text == Names.container }) else {
            return status?["phase"]?.text == "Running" ? .noSidecar : nil
        }
        let statuses = ["initContainerStatuses", "containerStatuses"].flatMap { status?[$0]?.elements ?? [] }
        guard let sidecar = statuses.first(where: { $0["name"]?.text == Names.container }),
            sidecar["restartCount"]?.integer ?? 0 >= leastRestarts
        else { return nil }
        let last = sidecar["state"]?["terminated"] ?? sidecar["lastState"]?["terminated"]
        let isUp = sidecar["state"]?["running"] != nil && sidecar["started"]?.flag == true
        return !isUp && last?["exitCode"]?.integer == noInterfaceStatus ? .noInterface : nil
    }
}
