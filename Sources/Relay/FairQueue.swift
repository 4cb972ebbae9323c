import Queues
package import Timing

/// What waits to be sent, from many sources, each of which gets its share: deficit round robin (Shreedhar and Varghese,
/// 1996) with the list of fresh flows of RFC 8290, so that who sends little waits for nobody.
///
/// A flow is a small number. Its elements stay in order; beyond its limit its oldest are dropped, beyond the limit of all
/// those of the longest flow, and what has waited too long while more waits behind it: a sender that is faster than its
/// share loses its own packets, and hears of it soonest. The caller takes what was dropped with `takeDropped`. Costs are
/// bytes, by which shares are equal; weights are what waiting takes (memory), by which limits hold. Not safe for concurrent
/// use.
package struct FairQueue<Element> {
    package struct Configuration: Sendable {
        /// What a flow may send in each round.
        package var quantum = 32 << 10
        /// Weights.
        package var flowLimit = 4 << 20
        package var totalLimit = 16 << 20
        /// How long an element may wait, unless it is all that its flow has.
        package var patience = Interval.milliseconds(250)

        package init() {}
    }

    private struct Flow {
        var elements = FIFO<(element: Element, cost: Int, weight: Int, arrived: MonotonicTime)>()
        var weight = 0
        var deficit = 0
        var isListed = false
    }

    private let configuration: Configuration
    private var flows: [Flow] = []
    /// Flows that had nothing waiting until now are served first, once; then they take turns with the others.
    private var fresh = FIFO<Int>()
    private var turns = FIFO<Int>()
    private var dropped: [Element] = []

    /// Of all that waits.
    package private(set) var weight = 0
    package private(set) var count = 0
    package private(set) var drops: UInt64 = 0

    package init(_ configuration: Configuration = Configuration()) { self.configuration = configuration }

    package var isEmpty: Bool { count == 0 }

    package mutating func append(
        _ element: Element, cost: Int, weight: Int? = nil, flow: Int, now: MonotonicTime
    ) {
        let weight = weight ?? cost
        if flow >= flows.count {
            flows.append(contentsOf: repeatElement(Flow(), count: flow + 1 - flows.count))
        }
        flows[flow].elements.append((element, cost, weight, now))
        flows[flow].weight += weight
        self.weight += weight
        count += 1
        if !flows[flow].isListed {
            flows[flow].isListed = true
            flows[flow].deficit = configuration.quantum
            fresh.append(flow)
        }
        while flows[flow].weight > configuration.flowLimit, dropFirst(of: flow) {}
        if self.weight > configuration.totalLimit { shorten() }
    }

    /// The next element to send; nil when nothing waits.
    package mutating func popFirst(now: MonotonicTime) -> Element? {
        while true {
            let isFresh = !fresh.isEmpty
            guard let flow = isFresh ? fresh.first : turns.first else { return nil }
            guard let next = flows[flow].elements.first else {
                retire(flow, isFresh: isFresh)
                continue
            }
            if flows[flow].elements.count > 1, now.since(next.arrived) > configuration.patience {
                _ = dropFirst(of: flow)
                continue
            }
            guard next.cost <= flows[flow].deficit else {
                flows[flow].deficit += configuration.quantum
                rotate(flow, isFresh: isFresh)
                continue
            }
            flows[flow].deficit -= next.cost
            return take(from: flow)
        }
    }

    /// What was dropped since the last call.
    package mutating func takeDropped() -> [Element] {
        if dropped.isEmpty { return [] }
        defer { dropped = [] }
        return dropped
    }

    /// Puts a flow behind the others. One that was served fresh and is empty stays a round, or it would be fresh again at
    /// once and never give others their turn (RFC 8290 4.2).
    private mutating func rotate(_ flow: Int, isFresh: Bool) {
        _ = isFresh ? fresh.popFirst() : turns.popFirst()
        turns.append(flow)
    }

    private mutating func retire(_ flow: Int, isFresh: Bool) {
        if isFresh, !turns.isEmpty { return rotate(flow, isFresh: true) }
        _ = isFresh ? fresh.popFirst() : turns.popFirst()
        flows[flow].isListed = false
    }

    private mutating func take(from flow: Int) -> Element? {
        guard let (element, _, weight, _) = flows[flow].elements.popFirst() else { return nil }
        flows[flow].weight -= weight
        self.weight -= weight
        count -= 1
        return element
    }

    private mutating func dropFirst(of flow: Int) -> Bool {
        guard let element = take(from: flow) else { return false }
        dropped.append(element)
        drops += 1
        return true
    }

    /// Takes a quarter off the longest flow: dropping several at once, it need not look for the longest each time.
    package mutating func shorten() {
        guard let longest = flows.indices.max(by: { flows[$0].weight < flows[$1].weight }) else { return }
        let goal = flows[longest].weight / 4 * 3
        while flows[longest].weight > goal || weight > configuration.totalLimit {
            guard dropFirst(of: longest) else { return }
        }
    }
}
