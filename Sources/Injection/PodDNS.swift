import Addressing
import JSON

/// The pod's resolv.conf: the sidecar's resolver alone, with the cluster's search list and the mesh's behind it.
///
/// The cluster's domains come first: a short name that meant a service goes on meaning it, whoever joins the mesh, and is
/// found while the hub is away.
struct PodDNS {
    /// As many as resolv.conf(5) may have, which the API server enforces.
    private static let searchLimit = 32
    private static let serverLimit = 3

    private let dns: InjectionSettings.DNS
    private let namespace: String?

    init(_ dns: InjectionSettings.DNS, namespace: String?) {
        self.dns = dns
        self.namespace = namespace
    }

    /// Why the pod keeps the DNS that it has; nil when it gets ours.
    static func reasonToKeep(_ pod: Pod) -> String? {
        let policy = pod.spec["dnsPolicy"]?.text
        return switch policy {
        case nil, "ClusterFirst", "ClusterFirstWithHostNet": nil
        case let other?:
            "dnsPolicy \(other.prefix(32)) is kept: names of the mesh are at \(ResolverAddress.ipv4), which it does not ask"
        }
    }

    static func warnings(_ pod: Pod, _ settings: InjectionSettings, namespace: String?) -> [String] {
        guard settings.dns != nil else { return [] }
        if let reason = reasonToKeep(pod) { return [reason] }
        return namespace == nil
            ? ["no namespace is named: short names of the pod's own namespace will not be found"] : []
    }

    func add(to patch: inout JSONPatch, _ pod: Pod) {
        guard Self.reasonToKeep(pod) == nil else { return }
        patch.add(["spec", "dnsPolicy"], "None")
        patch.add(["spec", "dnsConfig"], config(pod.spec["dnsConfig"]))
    }

    /// What the pod adds by itself comes after ours, as it would come after the cluster's; its options win.
    private func config(_ present: JSONValue?) -> JSONValue {
        var servers = [ResolverAddress.ipv4.description]
        for server in texts(present, "nameservers") where !servers.contains(server) { servers.append(server) }
        var searches: [String] = []
        for search in ownSearches + texts(present, "searches") where !searches.contains(search) {
            searches.append(search)
        }
        var options = present?["options"]?.elements ?? []
        if !options.contains(where: { $0["name"]?.text == "ndots" }) {
            options.append(["name": "ndots", "value": "5"])
        }
        return [
            "nameservers": .array(servers.prefix(Self.serverLimit).map(JSONValue.string)),
            "searches": .array(searches.prefix(Self.searchLimit).map(JSONValue.string)), "options": .array(options),
        ]
    }

    private var ownSearches: [String] {
        let ours = namespace.map { ["\($0).svc.\(dns.clusterDomain)"] } ?? []
        let cluster = ours + ["svc.\(dns.clusterDomain)", dns.clusterDomain]
        return cluster + (namespace.map { ["\($0).\(dns.meshDomain)"] } ?? []) + [dns.meshDomain]
    }

    private func texts(_ config: JSONValue?, _ key: String) -> [String] {
        (config?[key]?.elements ?? []).compactMap(\.text)
    }
}
