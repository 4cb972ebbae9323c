import Testing
import Timing

@testable import ClusterControl

@Suite struct TaintPlanTests {
    private static func time(_ seconds: UInt64) -> MonotonicTime { .zero + .seconds(1000 + seconds) }

    private static func decide(
        _ plan: inout TaintPlan, _ nodes: [String: Bool], ready: Set<String>, others: [String: Bool] = [:],
        hasAgents: Bool = true, share: Int = 50, at seconds: UInt64 = 0
    ) -> TaintPlan.Decision {
        plan.decide(
            nodes: nodes, others: others, readyNodes: ready, hasAgents: hasAgents, share: share, now: time(seconds))
    }

    @Test func `a node without a ready agent is tainted, and freed when it has one`() {
        var plan = TaintPlan()
        let first = Self.decide(&plan, ["a": false, "b": false, "c": false], ready: ["a", "b"])
        #expect(first.taint == ["c"] && first.untaint == [] && first.spared == [])
        let second = Self.decide(&plan, ["a": false, "b": false, "c": true], ready: ["a", "b", "c"])
        #expect(second.taint == [] && second.untaint == ["c"])
    }

    @Test func `an agent that was ready may be away for a moment, as in an update`() {
        var plan = TaintPlan()
        _ = Self.decide(&plan, ["a": false, "b": false], ready: ["a", "b"])
        let away = Self.decide(&plan, ["a": false, "b": false], ready: ["b"], at: 59)
        #expect(away.taint == [] && away.states["a"] == .leaving && away.next == Self.time(60))
        #expect(Self.decide(&plan, ["a": false, "b": false], ready: ["b"], at: 60).taint == ["a"])
        // Once tainted, only a ready agent frees it.
        #expect(Self.decide(&plan, ["a": true, "b": false], ready: ["b"], at: 61).untaint == [])
    }

    @Test func `when most fail it is not the nodes: no more than a share is tainted`() {
        var plan = TaintPlan()
        let nodes = Dictionary(uniqueKeysWithValues: (0..<10).map { ("n\($0)", false) })
        let decision = Self.decide(&plan, nodes, ready: ["n9"], share: 30)
        #expect(decision.taint.count == 3 && decision.spared.count == 6)
        var tainted = nodes
        for name in decision.taint { tainted[name] = true }
        #expect(Self.decide(&plan, tainted, ready: ["n9"], share: 30).taint == [])
        // One at least, or a cluster of one node would have none.
        #expect(Self.decide(&plan, ["only": false], ready: [], share: 10).taint == ["only"])
    }

    @Test func `without any node agent nothing is tainted, and what was is freed`() {
        var plan = TaintPlan()
        let decision = Self.decide(&plan, ["a": true, "b": false], ready: [], others: ["w": true], hasAgents: false)
        #expect(decision.taint == [] && Set(decision.untaint) == ["a", "w"])
    }

    @Test func `a node that is to have no agent is not tainted`() {
        var plan = TaintPlan()
        let decision = Self.decide(&plan, ["a": false], ready: ["a"], others: ["windows": false, "was": true])
        #expect(decision.taint == [] && decision.untaint == ["was"])
    }
}

@Suite struct TimestampTests {
    @Test(arguments: [
        (0, "1970-01-01T00:00:00Z"), (951_782_400, "2000-02-29T00:00:00Z"), (1_709_210_096, "2024-02-29T12:34:56Z"),
        (1_767_225_599, "2025-12-31T23:59:59Z"), (4_107_542_400, "2100-03-01T00:00:00Z"), (-1, "1969-12-31T23:59:59Z"),
    ])
    func `times are RFC 3339`(_ seconds: Int64, _ text: String) {
        #expect(Timestamp.seconds(WallTime(seconds: seconds)) == text)
    }

    @Test func `microseconds have six digits`() {
        #expect(Timestamp.micro(WallTime(seconds: 0, nanoseconds: 42_999)) == "1970-01-01T00:00:00.000042Z")
    }
}
