/// Which pod an agent is, by its cluster's word: nothing in it is what the agent says of itself.
///
///     spiffe://MESH/cluster/CLUSTER/ns/NAMESPACE/sa/SERVICEACCOUNT/pod/POD
package struct PodIdentity: Hashable, Sendable {
    package let cluster: String
    package let namespace: String
    package let serviceAccount: String
    package let pod: String

    /// Nil where a part can't be one of a SPIFFE ID, or pod and namespace not an agent's name.
    package init?(cluster: String, namespace: String, serviceAccount: String, pod: String) {
        guard AgentName.isValidMesh(cluster), Self.isLabel(namespace), AgentName.isValid(serviceAccount),
            AgentName.isValid("\(pod).\(namespace)"), AgentName.isValid(pod)
        else { return nil }
        self.cluster = cluster
        self.namespace = namespace
        self.serviceAccount = serviceAccount
        self.pod = pod
    }

    /// Nil for what is no such subject of `mesh`, in exactly this form.
    init?(subject: String, mesh: String) {
        let parts = subject.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 11, parts[0] == "spiffe:", parts[1].isEmpty, parts[2] == mesh, parts[3] == "cluster",
            parts[5] == "ns", parts[7] == "sa", parts[9] == "pod"
        else { return nil }
        self.init(cluster: parts[4], namespace: parts[6], serviceAccount: parts[8], pod: parts[10])
    }

    /// The agent's name. A namespace has no dots, so that no two pods of a cluster have one name.
    package var agentName: String { "\(pod).\(namespace)" }

    package func subject(mesh: String) -> String {
        "spiffe://\(mesh)/cluster/\(cluster)/ns/\(namespace)/sa/\(serviceAccount)/pod/\(pod)"
    }

    static func isLabel(_ text: String) -> Bool {
        AgentName.isValid(text) && !text.utf8.contains(UInt8(ascii: "."))
    }
}

/// The pod that a lease was given to.
package struct LeasedPod: Hashable, Sendable {
    package let identity: PodIdentity
    /// A pod that is made anew under the same name has another.
    package let uid: String
    package let node: String

    package init(identity: PodIdentity, uid: String, node: String) {
        self.identity = identity
        self.uid = uid
        self.node = node
    }

    var json: JSONValue {
        .object([
            .init("cluster", .string(identity.cluster)), .init("ns", .string(identity.namespace)),
            .init("sa", .string(identity.serviceAccount)), .init("name", .string(identity.pod)),
            .init("uid", .string(uid)), .init("node", .string(node)),
        ])
    }

    init?(json: JSONValue) {
        guard let cluster = json["cluster"]?.string, let namespace = json["ns"]?.string,
            let serviceAccount = json["sa"]?.string, let name = json["name"]?.string, let uid = json["uid"]?.string,
            let node = json["node"]?.string,
            let identity = PodIdentity(
                cluster: cluster, namespace: namespace, serviceAccount: serviceAccount, pod: name)
        else { return nil }
        self.init(identity: identity, uid: uid, node: node)
    }
}

/// The label by which a pod says which groups its agent is in.
package enum PodGroups {
    package static let label = "warren.dev/group"
    /// How many there may be.
    package static let limit = 4

    /// The groups that a label's value names, each as `GROUP.NAMESPACE` of the pod's namespace, so that nobody joins
    /// another's. Several are divided by dots, as a label's value can have no comma.
    ///
    /// - Returns: nil for what names no group, too many, or one twice.
    package static func list(_ value: String?, namespace: String) -> [String]? {
        guard let value, !value.isEmpty else { return [] }
        let dividers = [UInt8(ascii: "."), UInt8(ascii: ",")]
        let groups = value.utf8.split(omittingEmptySubsequences: false) { dividers.contains($0) }
            .map { String(decoding: $0, as: UTF8.self) }
        guard groups.count <= limit, Set(groups).count == groups.count, groups.allSatisfy(PodIdentity.isLabel) else {
            return nil
        }
        return groups.map { "\($0).\(namespace)" }
    }
}
