package import JSON

/// Where pods are in the objects that a person applies.
package enum PodTemplates {
    package struct Place: Equatable, Sendable {
        /// Members from the object to the pod, or the template of it.
        package let path: [String]
        package let isJob: Bool
    }

    /// Nil for an object that makes no pods.
    package static func place(in object: JSONValue) -> Place? {
        let version = object["apiVersion"]?.text ?? ""
        switch (version.split(separator: "/").first, object["kind"]?.text) {
        case ("v1", "Pod"): return Place(path: [], isJob: false)
        case ("v1", "PodTemplate"): return Place(path: ["template"], isJob: false)
        case ("v1", "ReplicationController"), ("apps", "Deployment"), ("apps", "ReplicaSet"),
            ("apps", "StatefulSet"), ("apps", "DaemonSet"):
            return Place(path: ["spec", "template"], isJob: false)
        case ("batch", "Job"): return Place(path: ["spec", "template"], isJob: true)
        case ("batch", "CronJob"): return Place(path: ["spec", "jobTemplate", "spec", "template"], isJob: true)
        default: return nil
        }
    }

    /// The objects of a `List`, else the object itself.
    package static func items(of object: JSONValue) -> [JSONValue] {
        object["kind"]?.text == "List" ? object["items"]?.elements ?? [] : [object]
    }
}

extension SidecarInjection {
    /// What `warren inject` does with one object: the object with the sidecar in its pods, and the verdict; nil for an
    /// object that makes no pods. That a person asks is as good as the namespace's label.
    package func injecting(_ object: JSONValue) -> (object: JSONValue, verdict: Verdict)? {
        guard let place = PodTemplates.place(in: object) else { return nil }
        var pod: JSONValue? = object
        for name in place.path { pod = pod?[name] }
        let origin = PodOrigin(
            namespace: object["metadata"]?["namespace"]?.text, isAskedFor: true, isJob: place.isJob)
        let verdict = verdict(on: pod ?? .null, from: origin)
        guard case .injected(let patch) = verdict.outcome else { return (object, verdict) }
        var whole = JSONPatch()
        for addition in patch.additions { whole.add(place.path + addition.path, addition.value) }
        return (whole.applied(to: object) ?? object, verdict)
    }
}
