import JSON
import Testing

/// What the accounts may do by the API: no more than is written here.
@Suite struct AccessTests {
    /// `GROUP/RESOURCE[NAMES]: VERBS` for each account, cluster-wide where it begins with `*`.
    private static let expected: [String: Set<String>] = [
        "warren-hub-init": [
            "secrets: create", "secrets[warren-hub-keys]: get", "configmaps: create",
            "configmaps[warren-hub]: get update",
        ],
        "warren-hub": ["*authentication.k8s.io/tokenreviews: create", "*pods: get"],
        "warren-node": [],
        "warren-injector": [
            "secrets: create", "secrets[warren-injector-tls]: get list update watch",
            "coordination.k8s.io/leases: create", "coordination.k8s.io/leases[warren-injector]: get update",
            "*admissionregistration.k8s.io/mutatingwebhookconfigurations[warren-injector]: get list patch watch",
            "*nodes: list patch watch", "*pods: list watch", "*pods/eviction: create", "*events: create",
        ],
        "warren-relay": [],
    ]

    private static let renderings = [Manifests.base, Manifests.relay, Manifests.composed, Manifests.monitoring]

    private static func strings(_ value: JSONValue?) -> [String] { (value?.elements ?? []).compactMap(\.text) }

    /// What a rule says, a line for each resource.
    private static func lines(_ rule: JSONValue, everywhere: Bool) -> [String] {
        let names = strings(rule["resourceNames"])
        return strings(rule["apiGroups"]).flatMap { group in
            strings(rule["resources"]).map { resource in
                (everywhere ? "*" : "") + (group.isEmpty ? "" : "\(group)/") + resource
                    + (names.isEmpty ? "" : "[\(names.joined(separator: " "))]") + ": "
                    + strings(rule["verbs"]).sorted().joined(separator: " ")
            }
        }
    }

    @Test func `each account may do what is listed and nothing else`() throws {
        for rendering in Self.renderings {
            var found: [String: Set<String>] = [:]
            for account in rendering.all("ServiceAccount") { found[account.name] = [] }
            for binding in rendering.all("RoleBinding") + rendering.all("ClusterRoleBinding") {
                let kind = try #require(binding.value["roleRef"]?["kind"]?.text)
                let role = try rendering.one(kind, try #require(binding.value["roleRef"]?["name"]?.text))
                #expect(role.namespace == (kind == "Role" ? Manifests.namespace : nil))
                #expect((kind == "ClusterRole") == (binding.kind == "ClusterRoleBinding"))
                for subject in binding.value["subjects"]?.elements ?? [] {
                    #expect(subject["kind"] == "ServiceAccount" && subject["namespace"]?.text == Manifests.namespace)
                    let name = try #require(subject["name"]?.text)
                    #expect(found[name] != nil, "\(binding) is for \(name), which is not here")
                    for rule in role.value["rules"]?.elements ?? [] {
                        #expect(rule["nonResourceURLs"] == nil)
                        found[name, default: []].formUnion(Self.lines(rule, everywhere: kind == "ClusterRole"))
                    }
                }
            }
            for (name, lines) in found { #expect(lines == Self.expected[name], "\(name)") }
        }
    }

    @Test func `no rule has a wildcard, reads Secrets by the list, or could make itself larger`() {
        var rules = 0
        for role in Self.renderings.flatMap({ $0.all("Role") + $0.all("ClusterRole") }) {
            #expect(role.value["aggregationRule"] == nil)
            for rule in role.value["rules"]?.elements ?? [] {
                rules += 1
                let verbs = Set(Self.strings(rule["verbs"]))
                let resources = Set(Self.strings(rule["resources"]))
                for word in Self.strings(rule["apiGroups"]) + verbs + resources {
                    #expect(!word.contains("*"), "\(role)")
                }
                #expect(verbs.isDisjoint(with: ["escalate", "bind", "impersonate", "delete", "deletecollection"]))
                #expect(
                    resources.isDisjoint(with: ["pods/exec", "pods/attach", "serviceaccounts/token", "nodes/proxy"]))
                if resources.contains("secrets") {
                    #expect(role.kind == "Role", "\(role)")
                    // Only `create` can't be bound to a name.
                    #expect(verbs == ["create"] || !Self.strings(rule["resourceNames"]).isEmpty, "\(role)")
                }
            }
        }
        #expect(rules > 0)
    }

    @Test func `each workload has an account of its own, and a token only where it asks the API`() throws {
        var accounts: [String] = []
        for workload in Manifests.base.workloads + Manifests.relay.workloads {
            let account = try #require(workload.podSpec?["serviceAccountName"]?.text)
            accounts.append(account)
            let asksNothing = Self.expected[account]?.isEmpty == true
            #expect((workload.podSpec?["automountServiceAccountToken"] == false) == asksNothing, "\(workload)")
        }
        #expect(Set(accounts).count == accounts.count)
        #expect(Set(accounts) == Set(Self.expected.keys))
        // Whom the hub takes for a node.
        let hub = try #require(try Manifests.base.one("StatefulSet", "warren-hub").containers.first)
        #expect(hub["command"]?.elements?.contains("--node-service-account=warren-system:warren-node") == true)
    }
}
