import JSON

/// What the API server says of a service account's token (authentication.k8s.io/v1, TokenReview.status).
package enum TokenVerdict: Equatable, Sendable {
    /// The pod that the token is bound to, by the server's claims.
    case pod(ServiceAccountPod)
    /// It is none; why, in a line.
    case refused(String)
}

/// A pod and its service account, from `status.user` of a TokenReview and nothing else.
package struct ServiceAccountPod: Hashable, Sendable {
    package let namespace: String
    package let serviceAccount: String
    package let pod: String
    package let uid: String
    /// Since Kubernetes 1.30; nil before.
    package let node: String?

    package init(namespace: String, serviceAccount: String, pod: String, uid: String, node: String?) {
        self.namespace = namespace
        self.serviceAccount = serviceAccount
        self.pod = pod
        self.uid = uid
        self.node = node
    }
}

/// What is needed of a Pod object.
package struct PodFacts: Equatable, Sendable {
    package let uid: String
    /// Nil until it is scheduled.
    package let node: String?
    package let serviceAccount: String
    /// Whether its containers have run for the last time.
    package let hasEnded: Bool
    package let labels: [String: String]
}

extension KubernetesClient {
    private static let extra = "authentication.kubernetes.io/"
    private static let accountPrefix = "system:serviceaccount:"

    /// Has `token` reviewed for `audience`.
    ///
    /// - Throws: when the server can't say; a token that is none is no error.
    package func review(_ token: String, audience: String) async throws(KubernetesError) -> TokenVerdict {
        let request: JSONValue = [
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "spec": ["token": .string(token), "audiences": [.string(audience)]],
        ]
        let path = ResourcePath(group: "authentication.k8s.io", "tokenreviews")
        let answer: JSONValue
        do { answer = try await ask(path, request) } catch {
            // A server, or a proxy before it, that repeats what it was sent must not bring the token into a log.
            throw error.without(token)
        }
        guard let status = answer["status"], status.members != nil else {
            throw .malformed("\(path): a review without status")
        }
        return Self.verdict(status, audience: audience)
    }

    static func verdict(_ status: JSONValue, audience: String) -> TokenVerdict {
        guard status["authenticated"]?.flag == true else {
            // Its text can have parts of the token's claims, and is the API server's log's to keep.
            return .refused("the API server does not accept it (expired, of another cluster, or its pod is gone)")
        }
        // A server that knows no audiences gives none back: its word is not about ours.
        guard status["audiences"]?.elements?.contains(.string(audience)) == true else {
            return .refused("it is not for the audience \(audience)")
        }
        guard let user = status["user"], let name = user["username"]?.text, name.hasPrefix(accountPrefix) else {
            return .refused("it is not a service account's")
        }
        let parts = name.dropFirst(accountPrefix.count).split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, !parts[0].isEmpty, !parts[1].isEmpty else {
            return .refused("it is not a service account's")
        }
        guard let pod = single("pod-name", of: user), let uid = single("pod-uid", of: user) else {
            return .refused("it is bound to no pod: only a projected token is")
        }
        return .pod(
            ServiceAccountPod(
                namespace: String(parts[0]), serviceAccount: String(parts[1]), pod: pod, uid: uid,
                node: single("node-name", of: user)))
    }

    private static func single(_ key: String, of user: JSONValue) -> String? {
        guard let values = user["extra"]?[extra + key]?.elements, values.count == 1, let text = values[0].text,
            !text.isEmpty
        else { return nil }
        return text
    }

    /// Nil when there is no pod of that name.
    package func pod(_ name: String, in namespace: String) async throws(KubernetesError) -> PodFacts? {
        let path = ResourcePath(namespace: namespace, "pods", name)
        let object: JSONValue
        do { object = try await get(path) } catch {
            if case .notFound = error { return nil }
            throw error
        }
        guard let uid = object["metadata"]?["uid"]?.text, !uid.isEmpty, let spec = object["spec"] else {
            throw .malformed("\(path): a pod without uid or spec")
        }
        let labels = (object["metadata"]?["labels"]?.members ?? []).compactMap { member in
            member.value.text.map { (member.name, $0) }
        }
        let phase = object["status"]?["phase"]?.text
        return PodFacts(
            uid: uid, node: spec["nodeName"]?.text.flatMap { $0.isEmpty ? nil : $0 },
            serviceAccount: spec["serviceAccountName"]?.text ?? "default",
            hasEnded: phase == "Succeeded" || phase == "Failed",
            labels: Dictionary(labels) { first, _ in first })
    }
}

extension KubernetesError {
    /// The same, unless `secret` is in it.
    func without(_ secret: String) -> KubernetesError {
        // A part of it would do: a server may cut what it repeats.
        let part = String(secret.suffix(24))
        guard !part.isEmpty, description.indices.contains(where: { description[$0...].hasPrefix(part) }) else {
            return self
        }
        return .malformed("an answer that repeats the token that was to be reviewed")
    }
}
