package import JSON

/// Decides what is done with a pod: it gets the sidecar, stays as it is, or is refused. Pure: the same pod and settings
/// give the same verdict, and a pod that has the sidecar is left alone.
package struct SidecarInjection: Sendable {
    package let settings: InjectionSettings

    package init(_ settings: InjectionSettings) { self.settings = settings }

    /// - Parameter pod: a Pod, or the template of pods in a workload.
    package func verdict(on pod: JSONValue, from origin: PodOrigin) -> Verdict {
        do throws(Refusal) {
            let pod = try Pod(pod)
            if let reason = try Self.reasonNot(pod, origin) { return Verdict(outcome: .untouched(reason)) }
            try PodRules.check(pod)
            var warnings = PodRules.warnings(pod, settings.style)
            if try Self.isInjected(pod) {
                return Verdict(outcome: .untouched("it has the sidecar"), warnings: warnings)
            }
            if settings.style == .plain, origin.isJob || pod.isJob {
                throw Refusal(
                    "a Job's pod would never end beside a plain sidecar", instead: "run it on Kubernetes 1.29 or newer")
            }
            let options = try AgentOptions(pod, origin, settings)
            warnings += PodDNS.warnings(pod, settings, namespace: origin.namespace)
            return Verdict(outcome: .injected(patch(pod, options, origin)), warnings: warnings)
        } catch { return Verdict(outcome: .refused(error.message)) }
    }

    /// For a change of a pod's ephemeral containers: none may take what is the sidecar's.
    package func ephemeralVerdict(on pod: JSONValue) -> Verdict {
        do throws(Refusal) {
            let pod = try Pod(pod)
            guard pod.sidecar != nil else { return Verdict(outcome: .untouched("it has no sidecar")) }
            var warnings: [String] = []
            for container in pod.containers where container.list == .ephemeralContainers {
                try PodRules.check(container, of: pod)
                if container.value["targetContainerName"]?.text == Names.container {
                    warnings.append("\(container.title) sees the sidecar's processes, and with SYS_PTRACE its keys")
                }
            }
            return Verdict(outcome: .untouched("its ephemeral containers are no danger"), warnings: warnings)
        } catch {
            return Verdict(outcome: .refused(error.message))
        }
    }

    /// Why the pod is not to have the sidecar; nil when it is.
    private static func reasonNot(_ pod: Pod, _ origin: PodOrigin) throws(Refusal) -> String? {
        switch pod.label(Names.inject) {
        case Names.disabled: return "its label says so"
        case Names.enabled: break
        case nil: guard origin.isAskedFor else { return "nothing asks for the sidecar" }
        case let other?:
            throw Refusal(
                "label \(Names.inject): \"\(other.prefix(63))\" means nothing",
                instead: "make it \"\(Names.enabled)\"")
        }
        return pod.annotation(Names.mirror) == nil ? nil : "it mirrors a pod that its node runs already"
    }

    /// Whether an injector has been here. Refuses what looks like it and is not.
    private static func isInjected(_ pod: Pod) throws(Refusal) -> Bool {
        guard let sidecar = pod.sidecar else {
            if let volume = pod.volumeNames.first(where: Names.volumes.contains) {
                throw Refusal("volume \(volume) has a name that is the sidecar's", instead: "rename it")
            }
            return false
        }
        let instead = "rename it, or remove it and let the injector add it"
        guard pod.annotation(Names.injected) != nil else {
            throw Refusal("\(sidecar.title) has the sidecar's name, and is not the injector's", instead: instead)
        }
        let command = (sidecar.value["command"]?.elements ?? []).prefix(2).map(\.text)
        let isRunning =
            sidecar.list == .containers
            || sidecar.list == .initContainers && sidecar.value["restartPolicy"]?.text == "Always"
        guard isRunning, command == ["warrend", "sidecar"], pod.uid(of: sidecar) == Int64(Names.uid),
            Names.volumes.subtracting([Names.deviceVolume]).isSubset(of: pod.volumeNames),
            pod.containers.count(where: { $0.name == Names.container }) == 1
        else {
            throw Refusal(
                "annotation \(Names.injected) is there, but \(sidecar.title) is not the sidecar", instead: instead)
        }
        return true
    }

    private func patch(_ pod: Pod, _ options: AgentOptions, _ origin: PodOrigin) -> JSONPatch {
        var patch = JSONPatch()
        if let dns = settings.dns { PodDNS(dns, namespace: origin.namespace).add(to: &patch, pod) }
        annotate(&patch, pod)
        let container = SidecarContainer.container(options, settings)
        prepend(container, to: settings.style == .native ? "initContainers" : "containers", &patch, pod)
        let volumes = SidecarContainer.volumes(options, settings)
        if let present = pod.spec["volumes"], present != .null {
            for volume in volumes { patch.add(["spec", "volumes", "-"], volume) }
        } else {
            patch.add(["spec", "volumes"], .array(volumes))
        }
        return patch
    }

    private func prepend(_ container: JSONValue, to list: String, _ patch: inout JSONPatch, _ pod: Pod) {
        if let present = pod.spec[list], present != .null {
            patch.add(["spec", list, "0"], container)
        } else {
            patch.add(["spec", list], [container])
        }
    }

    private func annotate(_ patch: inout JSONPatch, _ pod: Pod) {
        var annotations: [JSONValue.Member] = [.init(Names.injected, .string(settings.style.rawValue))]
        // Where the sidecar is the first of the containers, kubectl would take it for the application.
        let application = pod.containers.first { $0.list == .containers }
        if settings.style == .plain, let application, pod.annotation(Names.defaultContainer) == nil {
            annotations.append(.init(Names.defaultContainer, .string(application.name)))
        }
        if pod.metadata == nil || pod.metadata == .null {
            return patch.add(["metadata"], ["annotations": .object(annotations)])
        }
        guard let present = pod.metadata?["annotations"], present != .null else {
            return patch.add(["metadata", "annotations"], .object(annotations))
        }
        for annotation in annotations { patch.add(["metadata", "annotations", annotation.name], annotation.value) }
    }
}
