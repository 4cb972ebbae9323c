import JSON
import Testing

@testable import Injection

@Suite struct PodDNSTests {
    static let settings = InjectionSettings(
        image: "warren:test", dns: .init(servers: ["10.96.0.10"], meshDomain: "demo.warren.internal"))

    static func pod(_ spec: [JSONValue.Member], namespace: String? = "shop") -> JSONValue {
        var metadata: [JSONValue.Member] = [.init("name", "web")]
        if let namespace { metadata.append(.init("namespace", .string(namespace))) }
        let containers: JSONValue = [["name": "web", "image": "web"]]
        return [
            "apiVersion": "v1", "kind": "Pod", "metadata": .object(metadata),
            "spec": .object(spec + [.init("containers", containers)]),
        ]
    }

    /// The pod with the sidecar, by hand, which must be what the webhook makes.
    static func injected(_ pod: JSONValue, _ settings: InjectionSettings = settings) throws -> (JSONValue, [String]) {
        let injection = SidecarInjection(settings)
        let (object, verdict) = try #require(injection.injecting(pod))
        let namespace = pod["metadata"]?["namespace"]?.text
        let asked = injection.verdict(on: pod, from: PodOrigin(namespace: namespace, isAskedFor: true))
        guard case .injected(let patch) = asked.outcome else {
            Issue.record("not injected")
            return (object, [])
        }
        #expect(try PatchApplier.apply(patch.document, to: pod) == object)
        return (object, verdict.warnings)
    }

    @Test func `a pod asks the sidecar, with the cluster's search list first and the mesh's behind`() throws {
        let (pod, warnings) = try Self.injected(Self.pod([]))
        #expect(warnings.isEmpty)
        #expect(pod["spec"]?["dnsPolicy"] == "None")
        #expect(
            pod["spec"]?["dnsConfig"] == [
                "nameservers": ["169.254.53.53"],
                "searches": [
                    "shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "shop.demo.warren.internal",
                    "demo.warren.internal",
                ], "options": [["name": "ndots", "value": "5"]],
            ])
        let command = pod["spec"]?["initContainers"]?.elements?.first?["command"]?.elements?.compactMap(\.text) ?? []
        #expect(command.contains("--dns-upstream=10.96.0.10"))
        #expect(command.contains("--dns-domain=demo.warren.internal"))
    }

    @Test func `named ports become services, others do not`() throws {
        let containers: JSONValue = [
            [
                "name": "web", "image": "web",
                "ports": [
                    ["name": "http", "containerPort": 8080], ["containerPort": 9090],
                    ["name": "dns", "containerPort": 53, "protocol": "UDP"], ["name": "http", "containerPort": 8080],
                    ["name": "bad--name", "containerPort": 1], ["name": "beyond", "containerPort": 70000], "junk",
                ],
            ], ["name": "other", "image": "other", "ports": "junk"],
        ]
        var spec = try #require(Self.pod([])["spec"]?.members).filter { $0.name != "containers" }
        spec.append(.init("containers", containers))
        let pod = JSONValue.object(
            try #require(Self.pod([]).members).map { $0.name == "spec" ? .init("spec", .object(spec)) : $0 })
        let (injected, _) = try Self.injected(pod)
        let command =
            injected["spec"]?["initContainers"]?.elements?.first?["command"]?.elements?.compactMap(\.text) ?? []
        #expect(command.filter { $0.hasPrefix("--service=") } == ["--service=http/tcp/8080", "--service=dns/udp/53"])
    }

    @Test func `what the pod adds by itself stays, its options first`() throws {
        let config: JSONValue = [
            "nameservers": ["10.0.0.1", "10.0.0.2", "10.0.0.3"], "searches": ["example.com", "cluster.local"],
            "options": [["name": "ndots", "value": "2"], ["name": "edns0"]],
        ]
        let (pod, _) = try Self.injected(Self.pod([.init("dnsPolicy", "ClusterFirst"), .init("dnsConfig", config)]))
        let result = pod["spec"]?["dnsConfig"]
        #expect(result?["nameservers"] == ["169.254.53.53", "10.0.0.1", "10.0.0.2"])
        #expect(result?["searches"]?.elements?.last == "example.com")
        #expect(result?["searches"]?.elements?.count == 6)
        #expect(result?["options"] == [["name": "ndots", "value": "2"], ["name": "edns0"]])
    }

    @Test(arguments: ["None", "Default"]) func `a pod with a policy of its own keeps it`(policy: String) throws {
        let config: JSONValue = ["nameservers": ["10.0.0.1"]]
        let (pod, warnings) = try Self.injected(
            Self.pod([.init("dnsPolicy", .string(policy)), .init("dnsConfig", config)]))
        #expect(pod["spec"]?["dnsPolicy"]?.text == policy)
        #expect(pod["spec"]?["dnsConfig"] == config)
        #expect(warnings.count == 1 && warnings[0].contains("dnsPolicy \(policy) is kept"))
    }

    @Test func `without a namespace its searches are left out, with a warning`() throws {
        let (pod, warnings) = try Self.injected(Self.pod([], namespace: nil))
        #expect(
            pod["spec"]?["dnsConfig"]?["searches"] == ["svc.cluster.local", "cluster.local", "demo.warren.internal"])
        #expect(warnings.count == 1)
    }

    @Test func `an installation that says nothing of DNS changes nothing of it`() throws {
        let (pod, _) = try Self.injected(Self.pod([]), InjectionSettings(image: "warren:test"))
        #expect(pod["spec"]?["dnsPolicy"] == nil && pod["spec"]?["dnsConfig"] == nil)
    }
}
