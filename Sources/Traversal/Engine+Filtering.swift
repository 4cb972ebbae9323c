import Addressing
import Timing

// Filtering: whose packets reach a mapping, told by the server's other endpoints (RFC 5780 section 4.4).
extension Engine {
    mutating func noteFiltering(
        _ answer: BindingRequests.Answer, _ test: BindingRequests.FilteringTest, now: MonotonicTime
    ) {
        switch test {
        case .mapping:
            discovery.filteringMapped = answer.mapped
            ask(answer.request.socket, answer.request.server, .filtering(.otherAddress), now: now)
            ask(answer.request.socket, answer.request.server, .filtering(.otherPort), now: now)
        case .otherAddress: setFiltering(.endpointIndependent, now: now)
        case .otherPort:
            // The other test may still be answered; if not, its failure says this.
            if !requests.contains(.filtering(.otherAddress)) { setFiltering(.addressDependent, now: now) }
            discovery.isFilteringByAddress = true
        case .remapping:
            // Of a NAT with several addresses the port alone tells.
            remappingTested(answer.mapped.port != discovery.filteringMapped?.port, now: now)
        }
    }

    private mutating func setFiltering(_ filtering: NATBehavior.Filtering, now: MonotonicTime) {
        guard discovery.isRunning, !discovery.isFilteringKnown, let socket = discovery.filteringSocket else { return }
        requests.cancel { $0.socket == socket }
        var known = behavior
        known.filtering = filtering
        if filtering == .endpointIndependent {
            known.remapsAfterUnsolicited = false
            setBehavior(known, now: now)
            return filteringDone(now: now)
        }
        setBehavior(known, now: now)
        // Its other endpoint has just sent to us unasked: does our answer still have its port?
        guard let other = discovery.otherAddress, filtering == .addressAndPortDependent else {
            return filteringDone(now: now)
        }
        ask(socket, other, .filtering(.remapping), now: now)
    }

    private mutating func remappingTested(_ remaps: Bool, now: MonotonicTime) {
        if behavior.hasOneMapping || behavior.mapping == .unknown {
            var known = behavior
            known.remapsAfterUnsolicited = remaps
            setBehavior(known, now: now)
        }
        filteringDone(now: now)
    }

    mutating func filteringDone(now: MonotonicTime) {
        discovery.isFilteringKnown = true
        if let socket = discovery.filteringSocket { close(socket) }
        finishIfDone(now: now)
    }

    /// Nothing came from one of the server's other endpoints, three times.
    mutating func filteringTestFailed(now: MonotonicTime) {
        guard !requests.contains(.filtering(.otherAddress)), !requests.contains(.filtering(.otherPort)) else { return }
        setFiltering(discovery.isFilteringByAddress ? .addressDependent : .addressAndPortDependent, now: now)
    }
}
