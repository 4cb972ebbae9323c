import Addressing
import JSON

extension KubernetesClient {
    private static let conflictLimit = 8

    /// The data of a Secret that is made once: what is there, else what `make` gives.
    ///
    /// When somebody else makes it meanwhile, theirs counts.
    ///
    /// - Returns: the data, and whether this call has made it.
    package func keepSecret(
        _ name: String, in namespace: String, make: () throws(KubernetesError) -> [String: [UInt8]]
    ) async throws(KubernetesError) -> (data: [String: [UInt8]], isNew: Bool) {
        let path = ResourcePath(namespace: namespace, "secrets", name)
        if let present = try await secret(path) { return (present, false) }
        let data = try make()
        let object: JSONValue = [
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": Self.metadata(name, namespace),
            "data": .object(
                data.sorted { $0.key < $1.key }.map { .init($0.key, .string(Base64.encode($0.value))) }),
        ]
        do {
            _ = try await create(ResourcePath(namespace: namespace, "secrets"), object)
            return (data, true)
        } catch {
            guard case .conflict = error, let theirs = try await secret(path) else { throw error }
            return (theirs, false)
        }
    }

    private func secret(_ path: ResourcePath) async throws(KubernetesError) -> [String: [UInt8]]? {
        let object: JSONValue
        do { object = try await get(path) } catch {
            if case .notFound = error { return nil }
            throw error
        }
        var data: [String: [UInt8]] = [:]
        for member in object["data"]?.members ?? [] {
            guard let bytes = member.value.text.flatMap({ Base64.decode($0) }) else {
                throw .malformed("\(path): \(member.name) is not base64")
            }
            data[member.name] = bytes
        }
        return data
    }

    /// Sees to it that a ConfigMap says `text` under `key`; what else is in it stays.
    ///
    /// - Returns: whether something had to be changed.
    package func keepConfigMap(
        _ name: String, in namespace: String, key: String, _ text: String
    ) async throws(KubernetesError) -> Bool {
        let path = ResourcePath(namespace: namespace, "configmaps", name)
        for _ in 0..<Self.conflictLimit {
            do throws(KubernetesError) {
                let present: JSONValue
                do throws(KubernetesError) { present = try await get(path) } catch {
                    guard case .notFound = error else { throw error }
                    let object: JSONValue = [
                        "apiVersion": "v1", "kind": "ConfigMap", "metadata": Self.metadata(name, namespace),
                        "data": .object([.init(key, .string(text))]),
                    ]
                    _ = try await create(ResourcePath(namespace: namespace, "configmaps"), object)
                    return true
                }
                if present["data"]?[key] == .string(text) { return false }
                // With the resourceVersion that it was read with: who changes it meanwhile is not written over.
                _ = try await replace(path, Self.setting(key, to: text, in: present))
                return true
            } catch { guard case .conflict = error else { throw error } }
        }
        throw .conflict("\(path): others change it all the time")
    }

    private static func setting(_ key: String, to text: String, in object: JSONValue) -> JSONValue {
        var data = (object["data"]?.members ?? []).filter { $0.name != key }
        data.append(.init(key, .string(text)))
        let members = (object.members ?? []).filter { $0.name != "data" }
        return .object(members + [.init("data", .object(data))])
    }

    private static func metadata(_ name: String, _ namespace: String) -> JSONValue {
        [
            "name": .string(name), "namespace": .string(namespace),
            "labels": ["app.kubernetes.io/name": "warren-hub", "app.kubernetes.io/part-of": "warren"],
        ]
    }
}
