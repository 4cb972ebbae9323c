import Addressing
import JSON
import Testing

@testable import Injection

@Suite struct AdmissionTests {
    static let uid = "705ab4f5-6393-11e8-b7cc-42010a800002"

    static func review(
        _ object: JSONValue, resource: String = "pods", group: String = "", subresource: String = "",
        operation: String = "CREATE", version: String = "admission.k8s.io/v1", dryRun: Bool = false
    ) -> JSONValue {
        [
            "kind": "AdmissionReview", "apiVersion": .string(version),
            "request": [
                "uid": .string(uid), "kind": ["group": "", "version": "v1", "kind": "Pod"],
                "resource": ["group": .string(group), "version": "v1", "resource": .string(resource)],
                "subResource": .string(subresource), "namespace": "shop", "operation": .string(operation),
                "userInfo": ["username": "admin", "groups": ["system:authenticated"]], "object": object,
                "oldObject": .null, "dryRun": .boolean(dryRun), "options": ["kind": "CreateOptions"],
            ],
        ]
    }

    static func answer(
        _ review: JSONValue, _ settings: InjectionSettings = InjectionSettings(image: "warren:test"),
        isAskedFor: Bool = false
    ) throws -> JSONValue {
        let answer = try Admission(SidecarInjection(settings)).answer(review.serialized, isAskedFor: isAskedFor)
        let value = try JSONValue(parsing: answer.body)
        #expect(value["apiVersion"] == "admission.k8s.io/v1")
        #expect(value["kind"] == "AdmissionReview")
        #expect(value["response"]?["uid"] == .string(uid))
        return try #require(value["response"])
    }

    @Test(arguments: Shape.all)
    func `the webhook and warren inject give the same pod`(_ shape: Shape) throws {
        let response = try Self.answer(
            Self.review(shape.pod), shape.settings, isAskedFor: shape.origin.isAskedFor)
        switch shape.expected["expect"] {
        case "refused":
            #expect(response["allowed"] == false)
            #expect(response["status"]?["code"] == 403)
            #expect(response["patch"] == nil)
        case "untouched":
            #expect(response["allowed"] == true)
            #expect(response["patch"] == nil)
        default:
            #expect(response["allowed"] == true)
            #expect(response["patchType"] == "JSONPatch")
            let bytes = try #require(response["patch"]?.text.flatMap { Base64.decode($0) })
            let pod = try PatchApplier.apply(try JSONValue(parsing: bytes), to: shape.pod)
            let byHand = try #require(SidecarInjection(shape.settings).injecting(shape.pod))
            #expect(pod == byHand.object)
        }
    }

    @Test func `a dry run is answered as any other`() throws {
        let pod = try Shape("01-bare-pod").pod
        #expect(try Self.answer(Self.review(pod, dryRun: true)) == Self.answer(Self.review(pod)))
    }

    @Test(arguments: ["UPDATE", "DELETE", "CONNECT"])
    func `only the making of a pod is judged`(_ operation: String) throws {
        let object = operation == "DELETE" ? JSONValue.null : try Shape("22-reserved-uid-of-a-container").pod
        let response = try Self.answer(Self.review(object, operation: operation))
        #expect(response == ["uid": .string(Self.uid), "allowed": true])
    }

    @Test func `other kinds pass`() throws {
        let response = try Self.answer(Self.review(["kind": "Deployment"], resource: "deployments", group: "apps"))
        #expect(response["allowed"] == true)
        // A `pods` of another group is no pod.
        let metrics = try Self.answer(Self.review(try Shape("01-bare-pod").pod, group: "metrics.k8s.io"))
        #expect(metrics["patch"] == nil)
    }

    @Test func `an ephemeral container can't take the sidecar's uid, nor its keys`() throws {
        let shape = try Shape("01-bare-pod")
        guard case .injected(let patch) = shape.verdict.outcome else {
            Issue.record("\(shape.verdict)")
            return
        }
        let running = try PatchApplier.apply(patch.document, to: shape.pod)
        func response(_ container: JSONValue, in pod: JSONValue) throws -> JSONValue {
            var change = JSONPatch()
            change.add(["spec", "ephemeralContainers"], [container])
            let changed = try PatchApplier.apply(change.document, to: pod)
            return try Self.answer(
                Self.review(changed, subresource: "ephemeralcontainers", operation: "UPDATE"))
        }
        let debugger: JSONValue = ["name": "debugger", "image": "busybox", "stdin": true]
        #expect(try response(debugger, in: running)["allowed"] == true)
        let thief: JSONValue = ["name": "debugger", "image": "busybox", "securityContext": ["runAsUser": 64738]]
        let refusal = try response(thief, in: running)
        #expect(refusal["allowed"] == false)
        #expect(
            refusal["status"]?["message"]?.text?.contains("ephemeral container debugger has runAsUser 64738") == true)
        let reader: JSONValue = ["name": "d", "volumeMounts": [["name": "warren-state", "mountPath": "/k"]]]
        #expect(try response(reader, in: running)["allowed"] == false)
        let beside: JSONValue = ["name": "debugger", "image": "busybox", "targetContainerName": "warren"]
        let warned = try response(beside, in: running)
        #expect(warned["allowed"] == true)
        #expect(warned["warnings"]?.elements?.count == 1)
        // No sidecar, nothing to protect.
        #expect(try response(thief, in: shape.pod)["allowed"] == true)
    }

    @Test(arguments: [
        "", "junk", "[]", "null", "{}", #"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}"#,
        #"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":null}"#,
        #"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":7}}"#,
        #"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"u","resource":[]}}"#,
        #"{"kind":"Pod","apiVersion":"v1"}"#,
    ])
    func `junk is no review`(_ text: String) throws {
        let admission = Admission(SidecarInjection(InjectionSettings(image: "i")))
        do {
            _ = try admission.answer(Array(text.utf8), isAskedFor: true)
            Issue.record("junk was answered")
        } catch {
            guard case .malformed = error else {
                Issue.record("\(error)")
                return
            }
        }
    }

    @Test func `another version is refused by name`() throws {
        let review = Self.review(try Shape("01-bare-pod").pod, version: "admission.k8s.io/v1beta1")
        #expect(throws: AdmissionError.unsupportedVersion("admission.k8s.io/v1beta1")) {
            try Admission(SidecarInjection(InjectionSettings(image: "i"))).answer(review.serialized, isAskedFor: true)
        }
    }

    @Test(arguments: [
        JSONValue.null, "pod", [], [:], ["spec": "x"], ["spec": ["containers": [1]]], ["spec": [], "metadata": 1],
    ])
    func `a pod that is none is refused, not passed`(_ object: JSONValue) throws {
        let response = try Self.answer(Self.review(object), isAskedFor: true)
        #expect(response["allowed"] == false)
    }

    @Test func `warnings are few and short enough for the API server`() throws {
        let containers = (0..<300).map { index -> JSONValue in
            [
                "name": .string("c\(index)" + String(repeating: "x", count: 500)), "image": "i",
                "securityContext": ["privileged": true],
            ]
        }
        let pod: JSONValue = ["metadata": ["name": "many"], "spec": ["containers": .array(containers)]]
        let warnings = try #require(try Self.answer(Self.review(pod), isAskedFor: true)["warnings"]?.elements)
        #expect(warnings.count == 16)
        let sizes = warnings.map { $0.text?.utf8.count ?? 0 }
        #expect(sizes.allSatisfy { $0 <= 256 })
        #expect(sizes.reduce(0, +) <= 4096)
    }

    @Test func `a huge pod is answered within 50 ms`() throws {
        let blob = String(repeating: "0123456789abcdef", count: 64)
        let environment = (0..<900).map { index -> JSONValue in ["name": .string("V\(index)"), "value": .string(blob)] }
        let pod: JSONValue = [
            "metadata": ["name": "huge", "labels": ["warren.dev/inject": "enabled"]],
            "spec": ["containers": [["name": "c", "image": "i", "env": .array(environment)]]],
        ]
        let review = Self.review(pod).serialized
        #expect(review.count > 900_000)
        let admission = Admission(SidecarInjection(InjectionSettings(image: "i")))
        let times = try (0..<11).map { _ in
            try ContinuousClock().measure {
                let answer = try admission.answer(review, isAskedFor: false)
                #expect(answer.outcome == .injected)
            }
        }.sorted()
        #expect(times[times.count / 2] < .milliseconds(50), "\(times)")
    }
}
