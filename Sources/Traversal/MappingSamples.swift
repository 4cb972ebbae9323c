package import Addressing

/// What servers saw of our sockets, and what it says about the NAT's mapping and port allocation (RFC 5780 section 4.3).
package struct MappingSamples: Sendable {
    package struct Sample: Sendable {
        package let socket: SocketID
        package let server: Endpoint
        package let mapped: Endpoint
        /// The place in the order in which the requests went out.
        package let order: Int

        package init(socket: SocketID, server: Endpoint, mapped: Endpoint, order: Int) {
            self.socket = socket
            self.server = server
            self.mapped = mapped
            self.order = order
        }
    }

    package private(set) var samples: [Sample] = []

    package init() {}

    package mutating func add(_ sample: Sample) {
        if !samples.contains(where: { $0.socket == sample.socket && $0.server == sample.server }) {
            samples.append(sample)
        }
    }

    /// Whether that server saw the socket elsewhere before.
    func isContradicted(_ socket: SocketID, _ server: Endpoint, _ mapped: Endpoint) -> Bool {
        samples.contains { $0.socket == socket && $0.server == server && $0.mapped != mapped }
    }

    package func mapping(of socket: SocketID, hosts: Set<Endpoint>) -> NATBehavior.Mapping {
        let own = samples.filter { $0.socket == socket }
        guard let first = own.first else { return .unknown }
        if own.allSatisfy({ $0.mapped == first.mapped }) {
            return hosts.contains(first.mapped) ? .none : .endpointIndependent
        }
        if isPooled(socket, hosts: hosts) { return .endpointIndependent }
        let isByAddress = own.allSatisfy { sample in
            own.allSatisfy { $0.server.address != sample.server.address || $0.mapped == sample.mapped }
        }
        return isByAddress ? .addressDependent : .addressAndPortDependent
    }

    /// Whether the NAT has several addresses and takes any of them for a destination, with one port for all (RFC 4787
    /// section 4.1, "arbitrary" pooling).
    package func isPooled(_ socket: SocketID, hosts: Set<Endpoint>) -> Bool {
        let own = samples.filter { $0.socket == socket }.map(\.mapped)
        guard let first = own.first, own.allSatisfy({ $0.port == first.port }) else { return false }
        // Two that have the same port by chance say nothing yet.
        guard own.count >= 3 || hosts.contains(where: { $0.port == first.port }) else { return false }
        return own.contains { $0.address != first.address }
    }

    /// How ports are given to new mappings, from the ports that were given so far.
    package var allocation: NATBehavior.Allocation {
        let ports = samples.filter { $0.order >= 0 }.sorted { $0.order < $1.order }.map { Int($0.mapped.port) }
        guard ports.count >= 3, let low = ports.min(), let high = ports.max() else { return .random }
        let steps = zip(ports, ports.dropFirst()).map { $1 - $0 }
        let forward = steps.filter { (1...Self.longestStep).contains($0) }
        // Other flows take ports in between, packets overtake one another, and the sequence begins anew somewhere.
        if forward.count * 5 >= steps.count * 4 {
            return .sequential(step: UInt16(forward.reduce(0) { Self.commonDivisor($0, $1) }))
        }
        guard high - low <= Self.largestBlock else { return .random }
        // The extremes of a few samples lie inside the block.
        let slack = max((high - low) / 6, 4)
        return .block(UInt16(max(low - slack, 1024))...UInt16(min(high + slack, Int(UInt16.max))))
    }

    private static let longestStep = 64
    private static let largestBlock = 1536

    private static func commonDivisor(_ a: Int, _ b: Int) -> Int { b == 0 ? a : commonDivisor(b, a % b) }
}
