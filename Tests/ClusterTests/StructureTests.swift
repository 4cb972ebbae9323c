import Foundation
import JSON
import Testing

/// That the objects of a rendering fit together.
@Suite struct StructureTests {
    private static let ours: [(String, Rendering)] = [
        ("base", Manifests.base), ("relay", Manifests.relay), ("composed", Manifests.composed),
        ("monitoring", Manifests.monitoring),
    ]
    private static let all = ours + [("http", Manifests.samples[0]), ("udp", Manifests.samples[1])]

    /// Workloads that an object of this rendering may be about.
    private static func workloads(_ rendering: Rendering) -> [ClusterObject] {
        rendering.workloads
            + (rendering.workloads.contains { $0.name == "warren-hub" } ? Manifests.relay.workloads : [])
    }

    @Test(arguments: all.indices)
    func `a workload selects its own pods and no other's`(_ index: Int) throws {
        let workloads = Self.all[index].1.workloads
        for workload in workloads where workload.runsForEver {
            let selector = try #require(workload.spec?["selector"])
            #expect(workloads.filter { selector.selects($0.podLabels) }.map(\.name) == [workload.name])
        }
    }

    @Test(arguments: ours.indices)
    func `every object has the recommended labels, and the pods as well`(_ index: Int) {
        for object in Self.ours[index].1.objects {
            let wanted: Set = ["name", "instance", "part-of", "managed-by"]
            let keys = object.labels.keys.filter { $0.hasPrefix("app.kubernetes.io/") }.map { $0.dropFirst(18) }
            #expect(wanted.isSubset(of: Set(keys.map(String.init))), "\(object) \(keys)")
            guard object.podSpec != nil else { continue }
            #expect(object.podLabels["app.kubernetes.io/name"] == object.name)
            #expect(object.podLabels["app.kubernetes.io/component"] != nil)
            // No pod of ours is one that the injector would be asked about, which would be a dead-lock.
            #expect(object.podLabels["warren.dev/inject"] == nil)
        }
    }

    @Test(arguments: ours.indices)
    func `services, budgets, policies and monitors select pods that are there, by ports that they have`(_ index: Int)
        throws
    {
        let rendering = Self.ours[index].1
        let workloads = Self.workloads(rendering)
        for service in rendering.all("Service") {
            let selector = try #require(service.spec?["selector"]).texts
            let found = workloads.filter { workload in selector.allSatisfy { workload.podLabels[$0.key] == $0.value } }
            #expect(found.count == 1, "\(service)")
            for port in service.spec?["ports"]?.elements ?? [] {
                #expect(found.first?.ports[port["targetPort"]?.text ?? ""] != nil, "\(service)")
            }
        }
        for budget in rendering.all("PodDisruptionBudget") {
            let selector = try #require(budget.spec?["selector"])
            let found = workloads.filter { selector.selects($0.podLabels) }
            #expect(
                found.count == 1 && (found.first?.spec?["replicas"]?.integer ?? 0) > 1, "\(budget): else no drain ends")
        }
        for policy in rendering.all("NetworkPolicy") {
            let selector = try #require(policy.spec?["podSelector"])
            let found = workloads.filter { selector.selects($0.podLabels) }
            #expect(!found.isEmpty, "\(policy)")
            for rule in ["ingress", "egress"].flatMap({ policy.spec?[$0]?.elements ?? [] }) {
                for port in rule["ports"]?.elements ?? [] {
                    if let name = port["port"]?.text {
                        #expect(found.allSatisfy { $0.ports[name] != nil }, "\(policy)")
                    }
                }
            }
        }
        for monitor in rendering.all("PodMonitor") where monitor.name != "warren-sidecars" {
            let selector = try #require(monitor.spec?["selector"])
            let found = workloads.filter { selector.selects($0.podLabels) }
            #expect(!found.isEmpty, "\(monitor)")
            for port in (monitor.spec?["podMetricsEndpoints"]?.elements ?? []).compactMap({ $0["port"]?.text }) {
                #expect(found.allSatisfy { $0.ports[port] != nil }, "\(monitor)")
            }
        }
        for monitor in rendering.all("ServiceMonitor") {
            let selector = try #require(monitor.spec?["selector"])
            let found = rendering.all("Service").filter { selector.selects($0.labels) }
            #expect(found.count == 1, "\(monitor)")
            let ports = (found.first?.spec?["ports"]?.elements ?? []).compactMap { $0["name"]?.text }
            for port in (monitor.spec?["endpoints"]?.elements ?? []).compactMap({ $0["port"]?.text }) {
                #expect(ports.contains(port), "\(monitor)")
            }
        }
    }

    @Test func `every pod of the namespace that a policy can be about has one of its own, and the rest is closed`()
        throws
    {
        let policies = Manifests.base.all("NetworkPolicy") + Manifests.relay.all("NetworkPolicy")
        #expect(policies.contains { $0.spec?["podSelector"] == [:] && $0.spec?["ingress"] == nil })
        for workload in Manifests.base.workloads + Manifests.relay.workloads {
            let own = policies.filter {
                $0.spec?["podSelector"] != [:] && $0.spec?["podSelector"]?.selects(workload.podLabels) == true
            }
            #expect(own.count == (workload.podSpec?["hostNetwork"] == true ? 0 : 1), "\(workload)")
            for policy in own { #expect(policy.spec?["policyTypes"] == ["Ingress", "Egress"]) }
        }
    }

    @Test(arguments: all.indices)
    func `every mount has its volume, and every volume is mounted`(_ index: Int) {
        for workload in Self.all[index].1.workloads {
            let claims = (workload.spec?["volumeClaimTemplates"]?.elements ?? []).map { $0["metadata"] ?? .null }
            let volumes = (workload.podSpec?["volumes"]?.elements ?? []) + claims
            let mounts = workload.containers.flatMap { $0["volumeMounts"]?.elements ?? [] }
            #expect(
                Set(volumes.compactMap { $0["name"]?.text }) == Set(mounts.compactMap { $0["name"]?.text }),
                "\(workload)")
        }
    }

    @Test(arguments: ours.indices)
    func `every container says what it needs, and those that run for ever how they are asked`(_ index: Int) throws {
        for workload in Self.ours[index].1.workloads {
            for container in workload.containers {
                let resources = try #require(container["resources"], "\(workload)")
                #expect(resources["requests"]?["cpu"] != nil && resources["requests"]?["memory"] != nil)
                #expect(resources["limits"]?["memory"] != nil)
                guard workload.runsForEver else { continue }
                for probe in ["readinessProbe", "livenessProbe"] {
                    let port = try #require(container[probe]?["httpGet"]?["port"]?.text, "\(workload)")
                    #expect(workload.ports[port] != nil, "\(workload)")
                }
            }
        }
    }

    @Test func `what the cluster can't do without is critical, and the agent is on every Linux node`() throws {
        let node = try Manifests.base.one("DaemonSet", "warren-node")
        #expect(node.podSpec?["priorityClassName"] == "system-node-critical")
        #expect(node.podSpec?["tolerations"] == [["operator": "Exists"]])
        #expect(node.podSpec?["nodeSelector"] == ["kubernetes.io/os": "linux"])
        let command = try #require(
            try Manifests.base.one("Deployment", "warren-injector").containers.first?["command"]?.elements)
        // The controller looks for the agent's pods by these.
        #expect(command.contains("--node-agent-label=app.kubernetes.io/name=warren-node"))
        #expect(command.contains("--node-selector=kubernetes.io/os=linux"))
        #expect(node.podLabels["app.kubernetes.io/name"] == "warren-node")
    }

    @Test func `nothing is named by chance, and no Secret is in the manifests`() {
        for object in Self.all.flatMap({ $0.1.objects }) {
            #expect(object.metadata?["generateName"] == nil)
            #expect(object.kind != "Secret", "\(object)")
            #expect(object.name.range(of: "-[0-9a-z]{10}$", options: .regularExpression) == nil, "\(object)")
        }
    }
}
