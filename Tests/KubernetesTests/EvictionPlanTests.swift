import JSON
import Testing
import Timing

@testable import ClusterControl

@Suite struct EvictionPlanTests {
    private static func time(_ seconds: UInt64) -> MonotonicTime { .zero + .seconds(1000 + seconds) }

    private static func pods(_ count: Int, owner: String? = "rs") -> [PodView] {
        (0..<count).compactMap { PodView(PodObjects.unprotected("p\($0)", owner: owner)) }
    }

    @Test func `a pod is evicted only once it has been unprotected for a while, and not again at once`() {
        var plan = EvictionPlan(perMinute: 60, share: 100, now: Self.time(0))
        let pods = Self.pods(1)
        #expect(pods[0].fault == .noSidecar)
        let first = plan.decide(pods, now: Self.time(0))
        #expect(first.evict == [] && first.next == Self.time(60))
        #expect(plan.decide(pods, now: Self.time(59)).evict == [])
        #expect(plan.decide(pods, now: Self.time(60)).evict == pods)
        #expect(plan.decide(pods, now: Self.time(61)).evict == [])
        #expect(plan.decide(pods, now: Self.time(120)).evict == pods)
    }

    @Test func `so many in a minute, and no more`() {
        var plan = EvictionPlan(perMinute: 10, share: 100, now: Self.time(0))
        let pods = Self.pods(100)
        var evicted: [String] = []
        for second in 0..<UInt64(60 + 300) {
            evicted += plan.decide(pods.filter { !evicted.contains($0.uid) }, now: Self.time(second)).evict.map(\.uid)
        }
        #expect((50...51).contains(evicted.count))
    }

    @Test func `no more than a share of an owner's pods is on its way at once`() {
        var plan = EvictionPlan(perMinute: 10000, share: 25, now: Self.time(0))
        let pods = Self.pods(8)
        _ = plan.decide(pods, now: Self.time(0))
        var evicted = 0
        for second in 60..<UInt64(70) { evicted += plan.decide(pods, now: Self.time(second)).evict.count }
        // Two of eight were given out; nobody has told yet that they are ending, but they are not given out again.
        #expect(evicted >= 2)
        var ending = EvictionPlan(perMinute: 10000, share: 25, now: Self.time(0))
        let mixed = pods.dropFirst(2) + (0..<2).compactMap { PodView(PodObjects.ending("e\($0)", owner: "rs")) }
        _ = ending.decide(Array(mixed), now: Self.time(0))
        for second in 60..<UInt64(80) { #expect(ending.decide(Array(mixed), now: Self.time(second)).evict == []) }
    }

    @Test func `one of a few is allowed all the same`() {
        var plan = EvictionPlan(perMinute: 100, share: 25, now: Self.time(0))
        _ = plan.decide(Self.pods(2), now: Self.time(0))
        #expect(plan.decide(Self.pods(2), now: Self.time(60)).evict.count == 1)
    }

    @Test func `what nothing would make anew is told of once, and left`() {
        var plan = EvictionPlan(perMinute: 100, share: 100, now: Self.time(0))
        let pods = Self.pods(1, owner: nil)
        _ = plan.decide(pods, now: Self.time(0))
        #expect(plan.decide(pods, now: Self.time(60)).orphans == pods)
        let later = plan.decide(pods, now: Self.time(600))
        #expect(later.orphans == [] && later.evict == [])
    }

    @Test func `none ever, where it is so configured`() {
        var plan = EvictionPlan(perMinute: 0, share: 100, now: Self.time(0))
        _ = plan.decide(Self.pods(3), now: Self.time(0))
        #expect(plan.decide(Self.pods(3), now: Self.time(1000)).evict == [])
    }

    @Test func `who is at fault`() {
        func fault(_ object: JSONValue) -> PodView.Fault? { PodView(object)?.fault }
        #expect(fault(PodObjects.unprotected("a", owner: nil)) == .noSidecar)
        #expect(fault(PodObjects.protected("a")) == nil)
        #expect(fault(PodObjects.unprotected("a", owner: nil, label: "disabled")) == nil)
        #expect(fault(PodObjects.unprotected("a", owner: nil, label: nil)) == nil)
        #expect(fault(PodObjects.ending("a", owner: nil)) == nil)
        #expect(fault(PodObjects.unprotected("a", owner: nil, phase: "Succeeded")) == nil)
        #expect(fault(PodObjects.protected("a", restarts: 3, exit: 69)) == .noInterface)
        #expect(fault(PodObjects.protected("a", restarts: 1, exit: 69)) == nil)
        #expect(fault(PodObjects.protected("a", restarts: 9, exit: 1)) == nil)
    }
}

/// Pods as the API has them, as far as is looked at.
enum PodObjects {
    static func unprotected(
        _ name: String, owner: String?, label: String? = "enabled", phase: String = "Running",
        namespace: String = "agents"
    ) -> JSONValue {
        make(name, namespace, owner, label, ["containers": [["name": "app"]]], ["phase": .string(phase)])
    }

    static func ending(_ name: String, owner: String?) -> JSONValue {
        make(
            name, "agents", owner, "enabled", ["containers": [["name": "app"]]], ["phase": "Running"],
            ending: "2026-01-01T00:00:00Z")
    }

    static func protected(_ name: String, restarts: Int = 0, exit: Int? = nil) -> JSONValue {
        var container: [JSONValue.Member] = [
            .init("name", "warren"), .init("restartCount", JSONValue(integer: restarts)),
            .init("started", .boolean(exit == nil)),
        ]
        if let exit {
            container.append(.init("state", ["waiting": ["reason": "CrashLoopBackOff"]]))
            container.append(.init("lastState", ["terminated": ["exitCode": JSONValue(integer: exit)]]))
        } else {
            container.append(.init("state", ["running": [:]]))
        }
        return make(
            name, "agents", "other", "enabled",
            ["initContainers": [["name": "warren"]], "containers": [["name": "app"]]],
            ["phase": "Pending", "initContainerStatuses": .array([.object(container)])])
    }

    static func agent(_ name: String, node: String, isReady: Bool) -> JSONValue {
        [
            "metadata": [
                "name": .string(name), "namespace": "warren-system", "uid": .string(name), "resourceVersion": "1",
                "labels": ["app.kubernetes.io/name": "warren-node"],
            ],
            "spec": ["nodeName": .string(node), "containers": [["name": "warren-node"]]],
            "status": ["conditions": [["type": "Ready", "status": .string(isReady ? "True" : "False")]]],
        ]
    }

    private static func make(
        _ name: String, _ namespace: String, _ owner: String?, _ label: String?, _ spec: JSONValue, _ status: JSONValue,
        ending: String? = nil
    ) -> JSONValue {
        var metadata: [JSONValue.Member] = [
            .init("name", .string(name)), .init("namespace", .string(namespace)), .init("uid", .string("uid-\(name)")),
            .init("resourceVersion", "1"),
        ]
        if let label { metadata.append(.init("labels", ["warren.dev/inject": .string(label)])) }
        if let owner { metadata.append(.init("ownerReferences", [["uid": .string(owner), "controller": true]])) }
        if let ending { metadata.append(.init("deletionTimestamp", .string(ending))) }
        return ["metadata": .object(metadata), "spec": spec, "status": status]
    }
}
