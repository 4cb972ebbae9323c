import Addressing
import JSON
package import Kubernetes

/// Certificates in a Secret, which replicas share, and their bundle in a MutatingWebhookConfiguration, where the API server
/// reads whom to trust.
package struct SecretStore: CertificateStore {
    private static let conflictLimit = 8

    private let client: KubernetesClient
    private let namespace: String
    private let secret: String
    private let configuration: String

    /// - Parameter configuration: the MutatingWebhookConfiguration's name.
    package init(_ client: KubernetesClient, namespace: String, secret: String, configuration: String) {
        self.client = client
        self.namespace = namespace
        self.secret = secret
        self.configuration = configuration
    }

    private var secrets: ResourcePath { ResourcePath(namespace: namespace, "secrets") }
    private var secretPath: ResourcePath { ResourcePath(namespace: namespace, "secrets", secret) }
    private func configurations(_ name: String?) -> ResourcePath {
        ResourcePath(group: "admissionregistration.k8s.io", "mutatingwebhookconfigurations", name)
    }

    package func load() async throws(InjectorError) -> StoredCertificates? {
        let object: JSONValue
        do { object = try await client.get(secretPath) } catch {
            if case .notFound = error { return nil }
            throw failure("read", error)
        }
        guard let version = object["metadata"]?["resourceVersion"]?.text else {
            throw .store("Secret \(namespace)/\(secret): it has no resourceVersion")
        }
        var files: [String: String] = [:]
        for member in object["data"]?.members ?? [] {
            guard let bytes = member.value.text.flatMap({ Base64.decode($0) }) else {
                throw .store("Secret \(namespace)/\(secret): \(member.name) is not base64")
            }
            files[member.name] = String(decoding: bytes, as: UTF8.self)
        }
        return StoredCertificates(files: files, version: version)
    }

    package func save(_ files: [String: String], over version: String?) async throws(InjectorError) -> Bool {
        let data = files.sorted { $0.key < $1.key }.map {
            JSONValue.Member($0.key, .string(Base64.encode(Array($0.value.utf8))))
        }
        var metadata: [JSONValue.Member] = [.init("name", .string(secret)), .init("namespace", .string(namespace))]
        if let version { metadata.append(.init("resourceVersion", .string(version))) }
        let object: JSONValue = [
            "apiVersion": "v1", "kind": "Secret", "metadata": .object(metadata), "type": "Opaque",
            "data": .object(data),
        ]
        do {
            _ = version == nil ? try await client.create(secrets, object) : try await client.replace(secretPath, object)
            return true
        } catch {
            if case .conflict = error { return false }
            throw failure("write", error)
        }
    }

    package func publish(_ bundle: String) async throws(InjectorError) {
        let wanted = JSONValue.string(Base64.encode(Array(bundle.utf8)))
        for _ in 0..<Self.conflictLimit {
            do throws(KubernetesError) {
                let object = try await client.get(configurations(configuration))
                let webhooks = object["webhooks"]?.elements ?? []
                let stale = webhooks.indices.filter { webhooks[$0]["clientConfig"]?["caBundle"] != wanted }
                if stale.isEmpty { return }
                // Only the webhooks that we have seen: their order may change under us.
                var operations: [JSONValue] = [
                    [
                        "op": "test", "path": "/metadata/resourceVersion",
                        "value": object["metadata"]?["resourceVersion"] ?? .null,
                    ]
                ]
                for index in stale {
                    operations.append([
                        "op": "add", "path": .string("/webhooks/\(index)/clientConfig/caBundle"), "value": wanted,
                    ])
                }
                _ = try await client.patch(configurations(configuration), .array(operations))
                return
            } catch {
                switch error {
                // A test that fails is 422: another was faster.
                case .conflict, .status(422, _): continue
                case .notFound:
                    throw .store("MutatingWebhookConfiguration \(configuration) is not there: apply manifests/")
                default: throw .store("publish the certificate's authority: \(error)")
                }
            }
        }
        throw .store("MutatingWebhookConfiguration \(configuration): others change it all the time")
    }

    package func changes(_ onChange: @escaping @Sendable () -> Void) async {
        await withDiscardingTaskGroup { group in
            for (path, name) in [(secrets, secret), (configurations(nil), configuration)] {
                group.addTask {
                    // What goes wrong here goes wrong in the next turn too, where it is logged.
                    try? await client.follow(path, selector: "metadata.name=\(name)") { _ in
                        onChange()
                    } onTrouble: { _ in
                    }
                }
            }
        }
    }

    private func failure(_ what: String, _ error: KubernetesError) -> InjectorError {
        .store("\(what) Secret \(namespace)/\(secret): \(error)")
    }
}
