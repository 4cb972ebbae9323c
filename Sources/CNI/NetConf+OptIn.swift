/// Which pods the plugin is for.
package enum OptIn {
    /// The capability by which CRI runtimes hand over a pod's annotations.
    package static let capability = "io.kubernetes.cri.pod-annotations"
    /// `true` asks for the mesh, `false` declines it.
    package static let annotation = "warren.dev/mesh"
    /// Set by the injector: a pod with a sidecar needs its interface.
    package static let injected = "warren.dev/injected"
}

extension NetConf {
    /// Whether the pod is to be attached. With `"optIn": "annotation"` only a pod that says so is; a runtime that hands
    /// over no annotations speaks for no pod.
    package func isOptedIn() throws(CNIError) -> Bool {
        switch optIn {
        case nil, "all": return true
        case "annotation": break
        case .some(let text): throw .invalidConfiguration("read optIn \(text): neither all nor annotation")
        }
        guard let annotations = capability(OptIn.capability) else { return false }
        guard let members = annotations.members else {
            throw .invalidConfiguration("read runtimeConfig.\(OptIn.capability): not an object")
        }
        switch members[OptIn.annotation] {
        case nil: return members[OptIn.injected] != nil
        case .string("true"): return true
        case .string("false"): return false
        case .some(let value):
            throw .invalidConfiguration(
                "read annotation \(OptIn.annotation) \(value.text ?? "of another type"): neither true nor false")
        }
    }
}
