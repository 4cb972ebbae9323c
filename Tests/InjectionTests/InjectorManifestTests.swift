import Foundation
import JSON
import Manifest
import Testing

@testable import Injection

/// The injector's manifest: its structure, and that it says the same as the code. No cluster is asked.
@Suite struct InjectorManifestTests {
    private static let objects: [JSONValue] = {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../..")
        do {
            return try ManifestStream.read(
                Array(Data(contentsOf: root.appendingPathComponent("manifests/base/injector/injector.yaml"))))
        } catch {
            Issue.record("\(error)")
            return []
        }
    }()

    private static func object(_ kind: String) throws -> JSONValue {
        try #require(objects.first { $0["kind"]?.text == kind })
    }

    private static var webhooks: [JSONValue] {
        get throws { try #require(try object("MutatingWebhookConfiguration")["webhooks"]?.elements) }
    }

    /// Whether a label selector's expressions match labels (LabelSelectorRequirement).
    private static func matches(_ selector: JSONValue?, _ labels: [String: String]) throws -> Bool {
        try (selector?["matchExpressions"]?.elements ?? []).allSatisfy { expression in
            let key = try #require(expression["key"]?.text)
            let values = (expression["values"]?.elements ?? []).compactMap(\.text)
            switch expression["operator"] {
            case "In": return labels[key].map(values.contains) ?? false
            case "NotIn": return labels[key].map { !values.contains($0) } ?? true
            case "Exists": return labels[key] != nil
            default:
                Issue.record("\(expression)")
                return false
            }
        }
    }

    /// The paths of the webhooks that a new pod is sent to.
    private static func paths(namespace: [String: String], pod: [String: String]) throws -> [String] {
        try webhooks.filter { webhook in
            let isForPods = webhook["rules"]?.elements?.first?["resources"] == ["pods"]
            return try isForPods && matches(webhook["namespaceSelector"], namespace)
                && matches(webhook["objectSelector"], pod)
        }.compactMap { $0["clientConfig"]?["service"]?["path"]?.text }
    }

    @Test func `who asks is sent to the right path, and who doesn't is sent nowhere`() throws {
        func shop(_ value: String? = nil) -> [String: String] {
            var labels = ["kubernetes.io/metadata.name": "shop"]
            labels[Names.inject] = value
            return labels
        }
        let no: [String: String] = [:]
        #expect(try Self.paths(namespace: shop(), pod: no) == [])
        #expect(try Self.paths(namespace: shop(), pod: [Names.inject: "enabled"]) == ["/inject"])
        #expect(try Self.paths(namespace: shop(), pod: [Names.inject: "yes"]) == ["/inject"])
        #expect(try Self.paths(namespace: shop(), pod: [Names.inject: "disabled"]) == [])
        #expect(try Self.paths(namespace: shop("enabled"), pod: no) == ["/inject/namespace"])
        #expect(try Self.paths(namespace: shop("enabled"), pod: [Names.inject: "enabled"]) == ["/inject/namespace"])
        #expect(try Self.paths(namespace: shop("enabled"), pod: [Names.inject: "disabled"]) == [])
        #expect(try Self.paths(namespace: shop("disabled"), pod: [Names.inject: "enabled"]) == [])
        for name in ["kube-system", "warren-system"] {
            let labels = ["kubernetes.io/metadata.name": name, Names.inject: "enabled"]
            #expect(try Self.paths(namespace: labels, pod: [Names.inject: "enabled"]) == [], "no dead-lock")
        }
    }

    @Test func `every webhook fails closed, soon, and without side effects`() throws {
        let webhooks = try Self.webhooks
        #expect(webhooks.count == 3)
        for webhook in webhooks {
            #expect(webhook["failurePolicy"] == "Fail")
            #expect(webhook["timeoutSeconds"] == 5)
            #expect(webhook["sideEffects"] == "None")
            #expect(webhook["matchPolicy"] == "Equivalent")
            #expect(webhook["admissionReviewVersions"] == ["v1"])
            #expect(webhook["clientConfig"]?["caBundle"] == nil, "the injector puts it there")
            let service = webhook["clientConfig"]?["service"]
            #expect(service?["name"] == (try Self.object("Service"))["metadata"]?["name"])
            #expect(service?["namespace"] == "warren-system")
        }
        let debug = try #require(webhooks.last)
        #expect(debug["rules"]?.elements?.first?["resources"] == ["pods/ephemeralcontainers"])
        #expect(
            debug["matchConditions"]?.elements?.first?["expression"]?.text?.contains("\"\(Names.container)\"") == true)
    }

    @Test func `two replicas, of which one stays, with another uid than the sidecars`() throws {
        let deployment = try Self.object("Deployment")
        #expect(deployment["spec"]?["replicas"] == 2)
        #expect(deployment["spec"]?["strategy"]?["rollingUpdate"]?["maxUnavailable"] == 0)
        #expect(try Self.object("PodDisruptionBudget")["spec"]?["minAvailable"] == 1)
        // Within Pod Security "restricted": see the tests of all manifests.
        let container = try #require(deployment["spec"]?["template"]?["spec"]?["containers"]?.elements?.first)
        #expect(container["securityContext"]?["runAsUser"] != JSONValue(integer: Names.uid))
        // It must not be its own.
        #expect(deployment["spec"]?["template"]?["metadata"]?["labels"]?[Names.inject] == nil)
    }
}
