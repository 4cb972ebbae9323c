import Foundation
import Lab
import Testing

extension EndToEnd {
    /// The Kubernetes manifests: read as YAML, judged by their structure. No cluster is asked.
    @Suite struct Manifests {
        @Test(arguments: ["hub.yaml", "agent.yaml"])
        func `every container is unprivileged`(_ file: String) throws {
            let pods = try Self.podSpecifications(file)
            #expect(pods.count == 1)
            for pod in pods {
                for key in ["hostNetwork", "hostPID", "hostIPC"] { #expect(pod[key] == nil) }
                #expect(pod["automountServiceAccountToken"] as? Bool == false)
                for container in Self.containers(pod) {
                    let name = container["name"] as? String ?? "?"
                    let context = container["securityContext"] as? [String: Any] ?? [:]
                    #expect(context["runAsNonRoot"] as? Bool == true, "\(name)")
                    #expect((context["runAsUser"] as? Int ?? 0) > 0, "\(name)")
                    #expect(context["allowPrivilegeEscalation"] as? Bool == false, "\(name)")
                    #expect(context["readOnlyRootFilesystem"] as? Bool == true, "\(name)")
                    #expect(context["privileged"] == nil, "\(name)")
                    let capabilities = context["capabilities"] as? [String: Any]
                    #expect(capabilities?["drop"] as? [String] == ["ALL"], "\(name)")
                    #expect(capabilities?["add"] == nil, "\(name)")
                    let seccomp = context["seccompProfile"] as? [String: Any]
                    #expect(seccomp?["type"] as? String == "RuntimeDefault", "\(name)")
                    #expect((container["resources"] as? [String: Any])?["limits"] != nil, "\(name)")
                }
            }
        }

        @Test(arguments: ["hub.yaml", "agent.yaml"])
        func `every mount has its volume`(_ file: String) throws {
            for pod in try Self.podSpecifications(file) {
                let volumes = Set((pod["volumes"] as? [[String: Any]] ?? []).compactMap { $0["name"] as? String })
                let mounts = Self.containers(pod).flatMap { $0["volumeMounts"] as? [[String: Any]] ?? [] }
                #expect(!mounts.isEmpty)
                #expect(volumes == Set(mounts.compactMap { $0["name"] as? String }))
            }
        }

        @Test func `the sidecar is native, waits in memory, and takes its token from a Secret`() throws {
            let pod = try #require(try Self.podSpecifications("agent.yaml").first)
            let sidecar = try #require((pod["initContainers"] as? [[String: Any]])?.first)
            #expect(sidecar["restartPolicy"] as? String == "Always")
            #expect((sidecar["securityContext"] as? [String: Any])?["runAsUser"] as? Int == Int(Plan.sidecarUID))
            let volumes = pod["volumes"] as? [[String: Any]] ?? []
            let state = try #require(volumes.first { $0["name"] as? String == "warren" })
            #expect((state["emptyDir"] as? [String: Any])?["medium"] as? String == "Memory")
            let token = try #require(volumes.first { $0["name"] as? String == "token" })
            let secret = try #require(token["secret"] as? [String: Any])
            #expect(secret["defaultMode"] as? Int == 0o440)
            let documents = try Self.documents("agent.yaml")
            let given = documents.first { $0["kind"] as? String == "Secret" }?["metadata"] as? [String: Any]
            #expect(secret["secretName"] as? String == given?["name"] as? String)
        }

        @Test func `the Service leads to the hub's ports`() throws {
            let documents = try Self.documents("hub.yaml")
            let service = try #require(documents.first { $0["kind"] as? String == "Service" })
            let specification = try #require(service["spec"] as? [String: Any])
            let pod = try #require(try Self.podSpecifications("hub.yaml").first)
            let hub = try #require((pod["containers"] as? [[String: Any]])?.first)
            let ports = (hub["ports"] as? [[String: Any]] ?? []).compactMap { $0["name"] as? String }
            let targets = (specification["ports"] as? [[String: Any]] ?? []).compactMap { $0["targetPort"] as? String }
            #expect(Set(ports) == ["control", "relay"])
            #expect(Set(targets) == Set(ports))
        }

        @Test(arguments: ["hub.yaml", "agent.yaml"])
        func `every command is one of our programs with options that it has`(_ file: String) throws {
            let programs = try Programs.folder()
            var checked = 0
            for pod in try Self.podSpecifications(file) {
                for container in Self.containers(pod) {
                    let probe = container["startupProbe"] as? [String: Any]
                    let asked = (probe?["exec"] as? [String: Any])?["command"] as? [String]
                    for command in [container["command"] as? [String], asked].compactMap({ $0 }) {
                        guard let program = command.first, Programs.needed.contains(program) else { continue }
                        let subcommand = command.dropFirst().filter { !$0.hasPrefix("-") }
                        let help = try Repository.result(of: ["\(programs)/\(program)"] + subcommand + ["--help"])
                        #expect(help.status == 0, "\(command): \(help.text)")
                        for option in command where option.hasPrefix("--") {
                            let name = String(option.prefix { $0 != "=" })
                            #expect(help.text.contains(name), "\(program) \(subcommand) has no \(name)")
                            checked += 1
                        }
                    }
                }
            }
            #expect(checked > 0)
        }

        // MARK: - Reading

        private static func documents(_ file: String) throws -> [[String: Any]] {
            let program =
                "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(sys.stdin))))"
            let output = try Repository.result(
                of: ["/usr/bin/python3", "-c", program], input: Repository.text("manifests/\(file)"))
            let json = try JSONSerialization.jsonObject(with: Data(output.standardOutput.utf8))
            return try #require(json as? [[String: Any]], "\(output.standardError)")
        }

        private static func podSpecifications(_ file: String) throws -> [[String: Any]] {
            try documents(file).compactMap { document in
                guard let specification = document["spec"] as? [String: Any] else { return nil }
                switch document["kind"] as? String {
                case "Pod": return specification
                case "Deployment": return (specification["template"] as? [String: Any])?["spec"] as? [String: Any]
                default: return nil
                }
            }
        }

        private static func containers(_ pod: [String: Any]) -> [[String: Any]] {
            ["initContainers", "containers"].flatMap { pod[$0] as? [[String: Any]] ?? [] }
        }
    }
}
