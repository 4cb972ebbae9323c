import JSON
import Kubernetes
import Timing

/// One of several replicas leads: it who holds a Lease (coordination.k8s.io/v1), and renews it in time.
///
/// Whether another's has ended is told by its not changing for its duration, by our own clock: no two clocks are compared.
struct Leadership: Sendable {
    static let duration = Interval.seconds(15)
    /// After this long without a renewal a leader stops acting, before another begins.
    static let deadline = Interval.seconds(10)
    static let renewal = Interval.seconds(5)

    private let client: KubernetesClient
    private let namespace: String
    private let name: String
    private let identity: String
    /// The other's lease as it was seen last, and since when.
    private var observed: (version: String, since: MonotonicTime)?
    private(set) var renewed: MonotonicTime?

    init(_ client: KubernetesClient, namespace: String, name: String, identity: String) {
        self.client = client
        self.namespace = namespace
        self.name = name
        self.identity = identity
    }

    private func path(_ name: String?) -> ResourcePath {
        ResourcePath(group: "coordination.k8s.io", namespace: namespace, "leases", name)
    }

    func isLeading(at now: MonotonicTime) -> Bool { renewed.map { now < $0 + Self.deadline } ?? false }

    /// Takes the lease, or renews it, or sees that another has it.
    ///
    /// - Throws: what the API server says; the lease is as it was then, for as long as it lasts.
    mutating func turn(now: MonotonicTime, wall: WallTime) async throws(KubernetesError) {
        do throws(KubernetesError) {
            let lease = try await client.get(path(name))
            let version = lease["metadata"]?["resourceVersion"]?.text ?? ""
            let holder = lease["spec"]?["holderIdentity"]?.text ?? ""
            if holder != identity, !holder.isEmpty {
                renewed = nil
                if observed?.version != version { observed = (version, now) }
                let seconds = lease["spec"]?["leaseDurationSeconds"]?.integer ?? 15
                guard let observed, now >= observed.since + .seconds(UInt64(clamping: seconds)) else { return }
            }
            let transitions = lease["spec"]?["leaseTransitions"]?.integer ?? 0
            _ = try await client.replace(
                path(name),
                object(
                    version: version, holder: identity,
                    acquired: holder == identity ? lease["spec"]?["acquireTime"]?.text : nil,
                    transitions: holder == identity ? transitions : transitions + 1, wall))
        } catch {
            switch error {
            case .notFound:
                do throws(KubernetesError) {
                    _ = try await client.create(
                        path(nil), object(version: nil, holder: identity, acquired: nil, transitions: 0, wall))
                } catch {
                    // Another was faster.
                    if case .conflict = error { return renewed = nil }
                    throw error
                }
            case .conflict:
                renewed = nil
                return
            default: throw error
            }
        }
        observed = nil
        // From before the question: what the server counts from is later.
        renewed = now
    }

    /// Gives the lease back, so that another need not wait for its end.
    mutating func resign(wall: WallTime) async {
        guard renewed != nil else { return }
        renewed = nil
        guard let lease = try? await client.get(path(name)), lease["spec"]?["holderIdentity"]?.text == identity else {
            return
        }
        let version = lease["metadata"]?["resourceVersion"]?.text ?? ""
        let transitions = lease["spec"]?["leaseTransitions"]?.integer ?? 0
        _ = try? await client.replace(
            path(name), object(version: version, holder: "", acquired: nil, transitions: transitions, wall))
    }

    private func object(
        version: String?, holder: String, acquired: String?, transitions: Int64, _ wall: WallTime
    ) -> JSONValue {
        var metadata: [JSONValue.Member] = [.init("name", .string(name)), .init("namespace", .string(namespace))]
        if let version { metadata.append(.init("resourceVersion", .string(version))) }
        let time = Timestamp.micro(wall)
        return [
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": .object(metadata),
            "spec": [
                "holderIdentity": .string(holder), "leaseDurationSeconds": 15,
                "acquireTime": .string(acquired ?? time), "renewTime": .string(time),
                "leaseTransitions": JSONValue(integer: Int(transitions)),
            ],
        ]
    }
}
