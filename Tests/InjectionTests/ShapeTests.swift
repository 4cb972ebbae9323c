import JSON
import Manifest
import Testing

@testable import Injection

/// Every shape of pod, through the pure core.
@Suite struct ShapeTests {
    @Test func `there are forty shapes and more`() { #expect(Shape.all.count >= 40) }

    @Test(arguments: Shape.all)
    func `a pod gets what its shape asks for`(_ shape: Shape) throws {
        let verdict = shape.verdict
        let expected = try #require(shape.expected["expect"]?.text)
        let because = shape.expected["because"]?.text
        switch verdict.outcome {
        case .injected(let patch):
            #expect(expected == "injected")
            try check(try PatchApplier.apply(patch.document, to: shape.pod), shape)
        case .untouched(let reason):
            #expect(expected == "untouched", "\(reason)")
            #expect(reason.contains(try #require(because)))
        case .refused(let message):
            #expect(expected == "refused", "\(message)")
            #expect(message.contains(try #require(because)), "\(message)")
            #expect(message.contains("label the pod warren.dev/inject: disabled"), "it must say what to do: \(message)")
        }
        let warnings = (shape.expected["warnings"]?.elements ?? []).compactMap(\.text)
        #expect(verdict.warnings.count == warnings.count, "\(verdict.warnings)")
        for (warning, start) in zip(verdict.warnings, warnings) { #expect(warning.contains(start)) }
    }

    private func check(_ pod: JSONValue, _ shape: Shape) throws {
        let isPlain = shape.settings.style == .plain
        let list = isPlain ? "containers" : "initContainers"
        let sidecar = try #require(pod["spec"]?[list]?.elements?.first)
        #expect(sidecar["name"] == "warren")
        #expect(sidecar["restartPolicy"] == (isPlain ? nil : "Always"))
        #expect((sidecar["lifecycle"] != nil) == isPlain)
        #expect(sidecar["securityContext"]?["runAsUser"] == 64738)
        #expect(pod["metadata"]?["annotations"]?["warren.dev/injected"] == .string(isPlain ? "plain" : "native"))

        let command = (sidecar["command"]?.elements ?? []).compactMap(\.text)
        for word in (shape.expected["command"]?.elements ?? []).compactMap(\.text) { #expect(command.contains(word)) }
        // Each variable in the command is defined, and no other.
        let defined = (sidecar["env"]?.elements ?? []).compactMap { $0["name"]?.text }
        for variable in ["POD_NAME", "POD_NAMESPACE"] {
            #expect(command.joined().contains("$(\(variable))") == defined.contains(variable))
        }

        // Each mount has its volume, and every volume of ours is mounted by the sidecar only.
        let volumes = (pod["spec"]?["volumes"]?.elements ?? []).compactMap { $0["name"]?.text }
        #expect(Set(volumes).count == volumes.count)
        let mounts = Set((sidecar["volumeMounts"]?.elements ?? []).compactMap { $0["name"]?.text })
        #expect(mounts == Set(volumes.filter { $0.hasPrefix("warren-") }))
        #expect(mounts.contains("warren-tun") == (shape.settings.device == .hostPath))
        if case .resource(let name) = shape.settings.device { #expect(sidecar["resources"]?["limits"]?[name] == "1") }

        let token = try #require(pod["spec"]?["volumes"]?.elements?.first { $0["name"] == "warren-token" })
        let source = try #require(token["projected"]?["sources"]?.elements?.first)
        if case .projected = shape.settings.token {
            #expect(
                source["serviceAccountToken"] == ["audience": "warren", "expirationSeconds": 3600, "path": "token"])
            #expect(token["projected"]?["sources"]?.elements?.count == 1)
            #expect(command.contains("--service-account-token=/etc/warren/token"))
            #expect(command.contains("--hub=warrenhub1.x"))
            #expect(!command.contains { $0.hasPrefix("--token-file") || $0.hasPrefix("--name") })
            let mount = sidecar["volumeMounts"]?.elements?.first { $0["name"] == "warren-token" }
            #expect(mount?["readOnly"] == true && mount?["mountPath"] == "/etc/warren")
        } else {
            #expect(source["secret"]?["name"] == (shape.expected["secret"] ?? "warren-token"))
        }
        #expect(Self.withoutSidecar(pod) == Self.withoutEmpty(shape.pod), "what the author wrote must stay as it is")
    }

    /// The pod less all that an injection adds.
    private static func withoutSidecar(_ pod: JSONValue) -> JSONValue {
        func filtered(_ list: JSONValue) -> JSONValue {
            .array(
                (list.elements ?? []).filter {
                    $0["name"] != "warren" && $0["name"]?.text?.hasPrefix("warren-") != true
                })
        }
        var members = pod.members ?? []
        for index in members.indices {
            var inner = members[index].value.members ?? []
            for index in inner.indices {
                switch inner[index].name {
                case "initContainers", "containers", "volumes": inner[index].value = filtered(inner[index].value)
                case "annotations":
                    let kept = (inner[index].value.members ?? []).filter {
                        $0.name != "warren.dev/injected" && $0.name != "kubectl.kubernetes.io/default-container"
                    }
                    inner[index].value = .object(kept)
                default: break
                }
            }
            if members[index].value.members != nil { members[index].value = .object(inner) }
        }
        return withoutEmpty(.object(members))
    }

    /// Without the lists and annotations of pod and spec that hold nothing, and in the order of names.
    private static func withoutEmpty(_ pod: JSONValue) -> JSONValue {
        func isEmpty(_ value: JSONValue) -> Bool { value == .null || value == [] || value == [:] }
        let members: [JSONValue.Member] = (pod.members ?? []).compactMap { member in
            guard let inner = member.value.members else { return member }
            let kept = inner.filter { !isEmpty($0.value) }.sorted { $0.name < $1.name }
            return kept.isEmpty ? nil : .init(member.name, .object(kept))
        }
        return .object(members.sorted { $0.name < $1.name })
    }

    @Test func `the whole pod is as written down`() throws {
        let shape = try Shape("01-bare-pod")
        let golden = try #require(try Shape.documents("golden").first)
        guard case .injected(let patch) = shape.verdict.outcome else {
            Issue.record("\(shape.verdict)")
            return
        }
        let pod = try PatchApplier.apply(patch.document, to: shape.pod)
        #expect(Self.sorted(pod).page == Self.sorted(golden).page)
    }

    private static func sorted(_ value: JSONValue) -> JSONValue {
        switch value {
        case .object(let members):
            .object(members.map { .init($0.name, sorted($0.value)) }.sorted { $0.name < $1.name })
        case .array(let elements): .array(elements.map(sorted))
        default: value
        }
    }

    @Test(arguments: Shape.all)
    func `injecting twice changes nothing`(_ shape: Shape) throws {
        guard case .injected(let patch) = shape.verdict.outcome else { return }
        let once = try PatchApplier.apply(patch.document, to: shape.pod)
        let again = SidecarInjection(shape.settings).verdict(on: once, from: shape.origin)
        #expect(again.outcome == .untouched("it has the sidecar"))
        // Nor does what another webhook puts in front, or adds to the sidecar.
        var later = JSONPatch()
        later.add(["spec", "containers", "0"], ["name": "mesh-proxy", "image": "other"])
        let sidecarList = shape.settings.style == .plain ? "containers" : "initContainers"
        let place = shape.settings.style == .plain ? "1" : "0"
        later.add(["spec", sidecarList, place, "env"], [["name": "TZ", "value": "UTC"]])
        let changed = try PatchApplier.apply(later.document, to: once)
        let third = SidecarInjection(shape.settings).verdict(on: changed, from: shape.origin)
        #expect(third.outcome == .untouched("it has the sidecar"))
    }

    @Test func `what comes after the injection is still checked`() throws {
        let shape = try Shape("01-bare-pod")
        guard case .injected(let patch) = shape.verdict.outcome else {
            Issue.record("\(shape.verdict)")
            return
        }
        let once = try PatchApplier.apply(patch.document, to: shape.pod)
        for (thief, reason): (JSONValue, String) in [
            (["name": "thief", "securityContext": ["runAsUser": 64738]], "has runAsUser 64738"),
            (["name": "thief", "volumeMounts": [["name": "warren-state", "mountPath": "/k"]]], "mounts warren-state"),
            (["name": "warren", "image": "second"], "is not the sidecar"),
        ] {
            var later = JSONPatch()
            later.add(["spec", "containers", "-"], thief)
            let changed = try PatchApplier.apply(later.document, to: once)
            guard
                case .refused(let message) = SidecarInjection(shape.settings).verdict(on: changed, from: shape.origin)
                    .outcome
            else {
                Issue.record("\(thief) was let in")
                continue
            }
            #expect(message.contains(reason))
        }
    }
}
