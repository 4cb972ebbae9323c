import Foundation
import JSON
import TestSupport
import Testing

/// That the folders can be applied, to which versions of Kubernetes, and that there is one version of ours.
@Suite struct RenderingTests {
    static let renderings: [(String, Rendering)] = [
        ("base", Manifests.base), ("relay", Manifests.relay), ("monitoring", Manifests.monitoring),
        ("composed", Manifests.composed), ("http", Manifests.samples[0]), ("udp", Manifests.samples[1]),
    ]

    @Test func `the rendered file is what the folder means; make install-yaml renders it anew`() throws {
        #expect(Manifests.base.failure == nil)
        #expect(try Manifests.text("manifests/install/warren.yaml") == Manifests.base.text)
    }

    @Test(arguments: renderings.indices)
    func `each folder renders, and an object is there once`(_ index: Int) {
        let (name, rendering) = Self.renderings[index]
        #expect(rendering.failure == nil, "\(name)")
        #expect(!rendering.objects.isEmpty, "\(name)")
        let names = rendering.objects.map { "\($0.kind) \($0.namespace ?? "") \($0.name)" }
        #expect(Set(names).count == names.count)
    }

    @Test(arguments: renderings.indices)
    func `the API's schemas from 1 29 on accept every object and know every field`(_ index: Int) throws {
        let (name, rendering) = Self.renderings[index]
        let versions = ["1.29", "1.30", "1.31", "1.32", "1.33", "1.35", "1.37"]
        let outcome = try Manifests.run(
            [
                "\(Manifests.root)/.build-tools/python/bin/python",
                "\(Manifests.root)/Tests/ClusterTests/Programs/validate.py",
            ] + versions, input: rendering.text)
        #expect(outcome.status == 0, "\(outcome.diagnostics)")
        let custom = rendering.objects.count {
            $0.value["apiVersion"]?.text?.hasPrefix("monitoring.coreos.com/") == true
        }
        let expected = versions.map { "\($0): \(rendering.objects.count - custom) objects\n" }
        #expect(outcome.output == expected.joined(), "\(name)")
        // Where native sidecars are behind a gate the injector adds a plain one, and Warren itself is the same.
        if name == "base" {
            let older = try Manifests.run(
                [
                    "\(Manifests.root)/.build-tools/python/bin/python",
                    "\(Manifests.root)/Tests/ClusterTests/Programs/validate.py", "1.28",
                ], input: rendering.text)
            #expect(older.output == "1.28: \(rendering.objects.count) objects\n")
        }
    }

    @Test func `a wrong field is found by the schemas`() throws {
        let outcome = try Manifests.run(
            [
                "\(Manifests.root)/.build-tools/python/bin/python",
                "\(Manifests.root)/Tests/ClusterTests/Programs/validate.py", "1.33",
            ],
            input: #"{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "x"}, "automount": true}"#)
        #expect(outcome.output.contains("1.33 ServiceAccount x"), "\(outcome.output)")
    }

    @Test func `one image, with a version and not latest, and the sidecar's is the same`() throws {
        let version = try Manifests.run(["\(Manifests.root)/.ci/version"]).output.filter { !$0.isNewline }
        #expect(version.contains("."))
        for rendering in [Manifests.base, Manifests.relay, Manifests.composed] {
            let containers = rendering.workloads.flatMap(\.containers)
            #expect(!containers.isEmpty)
            for container in containers { #expect(container["image"]?.text == "localhost/warren:\(version)") }
            for object in rendering.objects { #expect(object.labels["app.kubernetes.io/version"] == version) }
            #expect(!rendering.text.contains("latest"))
        }
        let injector = try #require(try Manifests.base.one("Deployment", "warren-injector").containers.first)
        let variable = injector["env"]?.elements?.first { $0["name"] == "WARREN_IMAGE" }
        #expect(variable?["value"]?.text == injector["image"]?.text)
        #expect(injector["command"]?.elements?.contains("--image=$(WARREN_IMAGE)") == true)
        for sample in Manifests.samples {
            for image in sample.workloads.flatMap(\.containers).compactMap({ $0["image"]?.text }) {
                let tag = image.split(separator: ":").last ?? ""
                #expect(tag.contains { $0.isNumber } && tag.contains("."), "\(image)")
            }
        }
    }

    @Test func `what the components change is changed`() throws {
        let node = try Manifests.composed.one("DaemonSet", "warren-node")
        let paths = (node.podSpec?["volumes"]?.elements ?? []).compactMap { $0["hostPath"]?["path"]?.text }
        #expect(paths.contains("/home/kubernetes/bin") && paths.contains("/var/lib/rancher/k3s/agent/etc/cni/net.d"))
        let hub = try #require(try Manifests.composed.one("StatefulSet", "warren-hub").containers.first)
        #expect(hub["command"]?.elements?.last == "--relay=203.0.113.1:3478")
        let job = try #require(try Manifests.composed.one("Job", "warren-hub-init").containers.first)
        #expect(job["command"]?.elements?.contains("--address=hub.example.com:443") == true)
        #expect(
            try Manifests.composed.one("Service", "warren-hub-public-udp").spec?["externalTrafficPolicy"] == "Local")
        let monitored = try #require(try Manifests.monitoring.one("DaemonSet", "warren-node").containers.first)
        #expect(monitored["command"]?.elements?.contains("--listen=0.0.0.0:9809") == true)
    }
}
