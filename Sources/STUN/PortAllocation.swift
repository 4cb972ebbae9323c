package import Addressing

/// One port that a NAT chose: for which inner port, towards whom, and the endpoint that the server saw.
package struct PortSample: Hashable, Sendable {
    package var localPort: UInt16
    package var destination: Endpoint
    package var mapped: Endpoint

    package init(localPort: UInt16, destination: Endpoint, mapped: Endpoint) {
        self.localPort = localPort
        self.destination = destination
        self.mapped = mapped
    }
}

/// How a NAT chooses the outer port of a new mapping (RFC 4787 section 4.2).
package enum PortAllocation: Hashable, Sendable {
    /// The inner port, where it is free.
    case preserving
    /// The last one plus or minus a step.
    case sequential(step: Int)
    /// Some port of a small range, as of the block that a carrier's NAT gives a subscriber; these are the lowest and
    /// highest that were seen, so the block is at least this large.
    case block(lowest: UInt16, highest: UInt16)
    case random

    /// A range up to this wide is a block. That eight ports drawn from all 64,512 lie so close has a probability of
    /// 10^-7.
    static let widestBlock = 4096
    /// New mappings of others may lie between two of ours. In a block of 64, one random step in eight is as small.
    static let widestStep = 8

    /// From samples in the order of their mappings; nil when there are too few to tell.
    ///
    /// Samples that show the same mapping count once. Needs three mappings, four to tell a sequence and six to tell a block from random ports.
    package init?(_ samples: [PortSample]) {
        var seen: Set<Pair> = []
        let mappings = samples.filter { seen.insert(Pair(inner: $0.localPort, outer: $0.mapped)).inserted }
        guard mappings.count >= 3 else { return nil }
        let preserved = mappings.count { $0.localPort == $0.mapped.port }
        if preserved * 4 >= mappings.count * 3 {
            self = .preserving
            return
        }
        let ports = mappings.map { Int($0.mapped.port) }
        let steps = zip(ports, ports.dropFirst()).map { $1 - $0 }
        for direction in [1, -1] {
            let forward = steps.map { $0 * direction }.filter { (1...Self.widestStep).contains($0) }
            // Some may be a wrap, or packets that overtook each other.
            if steps.count >= 3, steps.count - forward.count <= steps.count / 4 {
                self = .sequential(step: direction * (forward.min() ?? 1))
                return
            }
        }
        let (lowest, highest) = (ports.min() ?? 0, ports.max() ?? 0)
        guard mappings.count >= 6 else { return nil }
        self =
            highest - lowest < Self.widestBlock
            ? .block(lowest: UInt16(clamping: lowest), highest: UInt16(clamping: highest)) : .random
    }

    private struct Pair: Hashable {
        let inner: UInt16
        let outer: Endpoint
    }
}

extension PortAllocation: CustomStringConvertible {
    package var description: String {
        switch self {
        case .preserving: "port-preserving"
        case .sequential(let step): "sequential ports (\(step > 0 ? "+" : "")\(step))"
        case .block(let lowest, let highest): "ports from a small block (\(lowest) to \(highest) seen)"
        case .random: "random ports"
        }
    }
}
