package import Addressing
import Synchronization
package import Timing

/// How many connections there may be, in all and from one source (an IPv4 address or an IPv6 /64), and how fast new ones may
/// come from it: decided before a byte is read. Safe from any thread.
package final class ConnectionLimits: Sendable {
    package struct Bounds: Sendable {
        package var total = 16384
        /// Many agents share one address behind a NAT.
        package var perSource = 1024
        package var new = TokenBucket.Limit(perSecond: 50, burst: 500)

        package init() {}
    }

    private struct Source {
        var open = 0
        var rate: TokenBucket
    }

    private struct State {
        var open = 0
        var sources: [IPPrefix: Source] = [:]
    }

    private let bounds: Bounds
    private let state = Mutex(State())

    package init(_ bounds: Bounds = Bounds()) { self.bounds = bounds }

    /// Counts a connection in; false when it must be closed. Each true is given back with `close`.
    package func open(from address: IPAddress, now: MonotonicTime) -> Bool {
        let key = Self.source(address)
        return state.withLock { state in
            guard state.open < bounds.total else { return false }
            if state.sources.count > bounds.total { prune(&state, now) }
            var source =
                state.sources[key]
                ?? Source(rate: TokenBucket(full: bounds.new, now: now))
            defer { state.sources[key] = source }
            guard source.open < bounds.perSource, source.rate.take(1, limit: bounds.new, now: now) else { return false }
            source.open += 1
            state.open += 1
            return true
        }
    }

    package func close(from address: IPAddress, now: MonotonicTime) {
        let key = Self.source(address)
        state.withLock { state in
            guard var source = state.sources[key], source.open > 0 else { return }
            source.open -= 1
            state.open -= 1
            state.sources[key] = source.open == 0 && source.rate.isFull(limit: bounds.new, now: now) ? nil : source
        }
    }

    package var openConnections: Int { state.withLock { $0.open } }

    private func prune(_ state: inout State, _ now: MonotonicTime) {
        for (key, var source) in state.sources where source.open == 0 && source.rate.isFull(limit: bounds.new, now: now)
        {
            state.sources[key] = nil
        }
    }

    private static func source(_ address: IPAddress) -> IPPrefix {
        if case .v6(let v6) = address {
            if let mapped = v6.embeddedIPv4 { return IPPrefix(host: .v4(mapped)) }
            return IPPrefix(address, length: 64)?.masked ?? IPPrefix(host: address)
        }
        return IPPrefix(host: address)
    }
}
