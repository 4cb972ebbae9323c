package import Addressing
package import Timing

/// The servers that answer what is not the mesh's, in order of preference, and which of them answer now.
///
/// One that has failed several times in a row is down: it is asked no more but for one query a second, which tells when it
/// is back.
package struct Upstreams: Sendable {
    package static let failureLimit = 3
    package static let probeInterval = Interval.seconds(1)

    private struct Server {
        let endpoint: Endpoint
        var failures = 0
        var lastAnswer = MonotonicTime.zero
        var nextProbe = MonotonicTime.zero

        var isDown: Bool { failures >= Upstreams.failureLimit }
    }

    private var servers: [Server]

    package init(_ endpoints: [Endpoint]) { servers = endpoints.map { Server(endpoint: $0) } }

    package var endpoints: [Endpoint] { servers.map(\.endpoint) }
    package var allDown: Bool { servers.allSatisfy(\.isDown) }
    package func endpoint(_ index: Int) -> Endpoint { servers[index].endpoint }
    package func isDown(_ index: Int) -> Bool { servers[index].isDown }

    /// Whom to ask now: the first that is up and was not asked for this before, and beside it one that is down and due.
    /// Empty when nobody is worth asking.
    package mutating func choose(besides asked: [Int], now: MonotonicTime) -> [Int] {
        let up = servers.indices.filter { !servers[$0].isDown }
        var chosen = (up.first { !asked.contains($0) } ?? up.first).map { [$0] } ?? []
        if let due = servers.indices.first(where: { servers[$0].isDown && servers[$0].nextProbe <= now }) {
            servers[due].nextProbe = now + Self.probeInterval
            chosen.append(due)
        }
        return chosen
    }

    package mutating func answered(_ index: Int, now: MonotonicTime) {
        servers[index].failures = 0
        servers[index].lastAnswer = now
    }

    /// No answer to what was sent at `sent`. It is no failure of the server when others were answered meanwhile.
    package mutating func failed(_ index: Int, sent: MonotonicTime, now: MonotonicTime) {
        guard servers[index].lastAnswer < sent || servers[index].lastAnswer == .zero else { return }
        servers[index].failures = min(servers[index].failures + 1, Self.failureLimit)
        if servers[index].isDown { servers[index].nextProbe = now + Self.probeInterval }
    }
}
