import JSON

/// What no pod with a sidecar may have, and what its author is warned of.
enum PodRules {
    static func check(_ pod: Pod) throws(Refusal) {
        try checkPlatform(pod)
        if pod.spec["securityContext"]?["runAsUser"]?.integer == Int64(Names.uid) {
            throw reservedUID("spec.securityContext")
        }
        if pod.annotation(Names.mesh) == "false" {
            throw Refusal(
                "annotation \(Names.mesh): \"false\" keeps the interface from the pod, and the sidecar needs it",
                instead: "remove it")
        }
        for container in pod.others { try check(container, of: pod) }
    }

    /// A container beside the sidecar: in a new pod, or an ephemeral one in a running pod.
    static func check(_ container: Pod.Container, of pod: Pod) throws(Refusal) {
        if pod.uid(of: container) == Int64(Names.uid) { throw reservedUID(container.title) }
        for mount in container.value["volumeMounts"]?.elements ?? [] {
            guard let volume = mount["name"]?.text, Names.volumes.contains(volume) else { continue }
            throw Refusal(
                "\(container.title) mounts \(volume), which is the sidecar's alone", instead: "remove the mount")
        }
    }

    private static func checkPlatform(_ pod: Pod) throws(Refusal) {
        let systems = [
            pod.spec["os"]?["name"]?.text, pod.spec["nodeSelector"]?["kubernetes.io/os"]?.text,
            pod.spec["nodeSelector"]?["beta.kubernetes.io/os"]?.text,
        ]
        if systems.contains("windows") { throw Refusal("a Windows pod can't be an agent: the sidecar needs Linux") }
        if pod.isTrue("hostNetwork") {
            throw Refusal(
                "hostNetwork: true leaves the pod no network of its own, where an agent's address could be",
                instead: "remove hostNetwork")
        }
    }

    private static func reservedUID(_ place: String) -> Refusal {
        Refusal(
            "\(place) has runAsUser \(Names.uid), which is reserved: it owns \(Names.container)0 in each pod",
            instead: "choose another uid")
    }

    /// What may be meant, but gives away some of what the sidecar protects.
    static func warnings(_ pod: Pod, _ style: InjectionSettings.Style) -> [String] {
        var warnings: [String] = []
        for container in pod.others {
            let capabilities = container.addedCapabilities.map { $0.hasPrefix("CAP_") ? String($0.dropFirst(4)) : $0 }
            if container.securityContext?["privileged"]?.flag == true {
                warnings.append(
                    "\(container.title) is privileged: it can read the sidecar's keys and change its routes")
            } else if capabilities.contains("NET_ADMIN") || capabilities.contains("ALL") {
                warnings.append("\(container.title) has NET_ADMIN: it can change the mesh's routes and interface")
            }
        }
        for key in ["shareProcessNamespace", "hostPID"] where pod.isTrue(key) {
            warnings.append("\(key): other processes see the sidecar's, and with SYS_PTRACE read its keys")
        }
        if let annotations = pod.metadata?["annotations"]?.members {
            for name in annotations.map(\.name) where name.hasPrefix(Names.prefix) && !Names.annotations.contains(name)
            {
                warnings.append(
                    name == Names.inject
                        ? "\(name) is a label, not an annotation" : "\(name.prefix(100)): there is no such annotation")
            }
        }
        guard style == .plain else { return warnings }
        if pod.containers.contains(where: { $0.list == .initContainers }) {
            warnings.append("init containers run before a plain sidecar: they don't have the mesh")
        }
        if let policy = pod.spec["restartPolicy"]?.text, policy != "Always" {
            warnings.append("restartPolicy \(policy.prefix(16)): the pod goes on while its plain sidecar runs")
        }
        return warnings
    }
}
