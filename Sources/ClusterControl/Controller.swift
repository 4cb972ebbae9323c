import Injection
import JSON
package import Kubernetes
package import Logging
package import Timing

/// Keeps pods away from nodes that can't make them agents, and has those made anew that asked to be agents and are none.
/// Of several replicas one acts.
package struct Controller: Sendable {
    /// Where the injector injects nothing, and nothing is evicted.
    static let excluded: Set<String> = ["kube-system", "warren-system"]
    static let leaseName = "warren-injector"
    /// Before a node is tried again, where the watch does not tell that it has worked; and before a dry run says the same.
    private static let pause = (real: Interval.seconds(5), dryRun: Interval.seconds(300))
    /// Changes come in bursts.
    private static let settle: UInt64 = 200_000_000

    package let metrics = ControllerMetrics()
    private let client: KubernetesClient
    private let options: ControllerOptions
    private let logger: Logger
    private let view: ClusterView
    private let now: @Sendable () -> MonotonicTime

    package init(
        _ client: KubernetesClient, _ options: ControllerOptions, logger: Logger,
        now: @escaping @Sendable () -> MonotonicTime = { .now() }
    ) {
        self.client = client
        self.options = options
        self.logger = logger
        self.now = now
        view = ClusterView { object, pod in
            pod.hasOptedIn && !Self.excluded.contains(pod.namespace) || Self.isAgent(object, pod, options)
        }
    }

    private static func isAgent(_ object: JSONValue, _ pod: PodView, _ options: ControllerOptions) -> Bool {
        pod.namespace == options.namespace
            && object["metadata"]?["labels"]?[options.agents.key]?.text == options.agents.value
    }

    /// Works until the task is cancelled, and gives the lead back then.
    package func run() async {
        let (wakes, waking) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
        await withDiscardingTaskGroup { group in
            group.addTask { await follow("nodes", waking) { view.takeNode($0) } }
            group.addTask { await follow("pods", waking) { view.takePod($0) } }
            group.addTask { await beat(waking) }
            var work = Work(options, client, now: now())
            for await _ in wakes {
                await turn(&work)
                guard (try? await Task.sleep(nanoseconds: Self.settle)) != nil else { break }
            }
            // This task is cancelled, and its calls would be too.
            let last = work.leadership
            await Task {
                var leadership = last
                await leadership.resign(wall: .now())
            }.value
            group.cancelAll()
        }
    }

    private func follow(
        _ plural: String, _ waking: AsyncStream<Void>.Continuation, _ take: @escaping @Sendable (WatchEvent) -> Void
    ) async {
        try? await client.follow(ResourcePath(plural)) { event in
            take(event)
            waking.yield()
        } onTrouble: { error in
            metrics.change { $0.errors += 1 }
            logger.warning("controller: watch \(plural): \(error)")
        }
    }

    private func beat(_ waking: AsyncStream<Void>.Continuation) async {
        repeat { waking.yield() } while (try? await Task.sleep(nanoseconds: 1_000_000_000)) != nil
    }

    /// What is kept from one turn to the next.
    private struct Work {
        var leadership: Leadership
        var taints = TaintPlan()
        var evictions: EvictionPlan
        var nextRenewal = MonotonicTime.zero
        var seen = false
        var spared = 0
        /// When a node was tried last.
        var tried: [String: MonotonicTime] = [:]

        init(_ options: ControllerOptions, _ client: KubernetesClient, now: MonotonicTime) {
            leadership = Leadership(
                client, namespace: options.namespace, name: Controller.leaseName, identity: options.identity)
            evictions = EvictionPlan(
                perMinute: options.evictionsPerMinute, share: options.evictionShare, now: now)
        }
    }

    private func turn(_ work: inout Work) async {
        let time = now()
        if work.nextRenewal <= time {
            work.nextRenewal = time + (work.leadership.isLeading(at: time) ? Leadership.renewal : .seconds(2))
            do { try await work.leadership.turn(now: time, wall: .now()) } catch {
                metrics.change { $0.errors += 1 }
                logger.warning("controller: lease \(options.namespace)/\(Self.leaseName): \(error)")
            }
        }
        let isLeading = work.leadership.isLeading(at: time)
        if isLeading != work.seen {
            logger.info("controller: \(isLeading ? "leading" : "another replica leads, or none can")")
            work.seen = isLeading
        }
        metrics.change { $0.isLeader = isLeading }
        let snapshot = view.snapshot
        guard isLeading, snapshot.isComplete else { return }
        await taint(snapshot, &work)
        await evict(snapshot, &work)
    }

    // MARK: Taints

    private func taint(_ snapshot: ClusterView.Snapshot, _ work: inout Work) async {
        let agents = snapshot.pods.values.filter { $0.namespace == options.namespace && !$0.hasOptedIn }
        let ready = Set(agents.filter { $0.isReady && !$0.isEnding }.compactMap(\.node))
        var (ours, others): ([String: Bool], [String: Bool]) = ([:], [:])
        for node in snapshot.nodes.values {
            if options.nodes.allSatisfy({ node.labels[$0.key] == $0.value }) {
                ours[node.name] = node.isTainted
            } else {
                others[node.name] = node.isTainted
            }
        }
        let decision = work.taints.decide(
            nodes: ours, others: others, readyNodes: ready, hasAgents: !agents.isEmpty, share: options.taintShare,
            now: now())
        metrics.change { state in
            state.nodes = Dictionary(decision.states.values.map { ($0, 1) }, uniquingKeysWith: +)
            state.spared = decision.spared.count
        }
        if decision.spared.count > work.spared {
            logger.warning(
                "controller: not tainting \(decision.spared.count) nodes more: over \(options.taintShare) % of them have no ready warren-node, so it is not the nodes"
            )
        }
        work.spared = decision.spared.count
        let (time, pause) = (now(), options.isDryRun ? Self.pause.dryRun : Self.pause.real)
        work.tried = work.tried.filter { time < $0.value + pause }
        for (names, isTainted) in [(decision.untaint, false), (decision.taint, true)] {
            for name in names {
                guard let node = snapshot.nodes[name], work.tried[name] == nil else { continue }
                work.tried[name] = time
                await set(node, isTainted: isTainted)
            }
        }
    }

    private func set(_ node: NodeView, isTainted: Bool) async {
        let what = "\(isTainted ? "taint" : "remove the taint of") node \(node.name)"
        guard !options.isDryRun else {
            metrics.change { $0.taints["dry-run", default: 0] += 1 }
            return logger.info("controller: would \(what)")
        }
        do {
            _ = try await client.patch(ResourcePath("nodes", node.name), node.patch(isTainted: isTainted))
            metrics.change { $0.taints[isTainted ? "set" : "removed", default: 0] += 1 }
            logger.notice(
                "controller: \(what): \(isTainted ? "its warren-node is not ready; see the events of its pod" : "its warren-node is ready, or none is wanted there")"
            )
        } catch {
            switch error {
            // The node has changed: the watch tells of it, and the next turn decides anew.
            case .conflict, .status(422, _), .notFound: break
            default:
                metrics.change { $0.errors += 1 }
                logger.warning("controller: \(what): \(error)")
            }
        }
    }

    // MARK: Evictions

    private func evict(_ snapshot: ClusterView.Snapshot, _ work: inout Work) async {
        let agents = snapshot.pods.values.filter(\.hasOptedIn)
        metrics.change { $0.unprotected = agents.count { $0.fault != nil } }
        let decision = work.evictions.decide(Array(agents), now: now())
        for pod in decision.orphans {
            guard let fault = pod.fault else { continue }
            logger.warning(
                "controller: pod \(pod.namespace)/\(pod.name): \(fault.explanation); nothing would make it anew")
            await tell(
                pod, fault, "Unprotected: \(fault.explanation). Delete and create it anew: it has no owner that would.")
        }
        for pod in decision.evict {
            guard work.leadership.isLeading(at: now()), let fault = pod.fault else { return }
            await evict(pod, fault)
        }
    }

    private func evict(_ pod: PodView, _ fault: PodView.Fault) async {
        guard !options.isDryRun else {
            metrics.change { $0.evictions["dry-run", default: 0] += 1 }
            logger.info("controller: would evict pod \(pod.namespace)/\(pod.name): \(fault.explanation)")
            return await tell(pod, fault, "Would be evicted (dry run): \(fault.explanation).")
        }
        let eviction: JSONValue = [
            "apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": ["name": .string(pod.name), "namespace": .string(pod.namespace)],
            // Not another pod of the same name.
            "deleteOptions": ["preconditions": ["uid": .string(pod.uid)]],
        ]
        do {
            _ = try await client.createOnce(
                ResourcePath(namespace: pod.namespace, "pods", pod.name, subresource: "eviction"), eviction)
            metrics.change { $0.evictions["evicted", default: 0] += 1 }
            logger.notice("controller: evicted pod \(pod.namespace)/\(pod.name): \(fault.explanation)")
            await tell(pod, fault, "Evicted: \(fault.explanation).")
        } catch {
            switch error {
            case .notFound, .conflict: break
            case .status(429, let text):
                metrics.change { $0.evictions["refused", default: 0] += 1 }
                logger.info("controller: evict pod \(pod.namespace)/\(pod.name): not now: \(text)")
            default:
                metrics.change {
                    $0.evictions["failed", default: 0] += 1
                    $0.errors += 1
                }
                logger.warning("controller: evict pod \(pod.namespace)/\(pod.name): \(error)")
            }
        }
    }

    /// An event on the pod, as `kubectl describe` shows.
    private func tell(_ pod: PodView, _ fault: PodView.Fault, _ message: String) async {
        let wall = WallTime.now()
        let suffix = String(UInt64.random(in: 0...UInt64.max), radix: 16)
        let time = JSONValue.string(Timestamp.seconds(wall))
        let event: JSONValue = [
            "apiVersion": "v1", "kind": "Event",
            "metadata": [
                "name": .string("\(pod.name.prefix(200)).\(suffix)"), "namespace": .string(pod.namespace),
            ],
            "involvedObject": [
                "apiVersion": "v1", "kind": "Pod", "name": .string(pod.name), "namespace": .string(pod.namespace),
                "uid": .string(pod.uid),
            ],
            "type": "Warning", "reason": .string("Warren\(fault.rawValue)"), "message": .string(message),
            "source": ["component": "warren-injector"], "firstTimestamp": time, "lastTimestamp": time, "count": 1,
            "reportingComponent": "warren.dev/warren-injector", "reportingInstance": .string(options.identity),
        ]
        do { _ = try await client.create(ResourcePath(namespace: pod.namespace, "events"), event) } catch {
            metrics.change { $0.errors += 1 }
            logger.info("controller: event on pod \(pod.namespace)/\(pod.name): \(error)")
        }
    }
}
