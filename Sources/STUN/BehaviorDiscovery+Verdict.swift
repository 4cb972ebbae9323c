import Addressing

// What the answers say.
extension BehaviorDiscovery {
    /// What is known by now.
    package var behavior: BehaviorReport {
        let mappings = answers { $0 == .mapping }
        let samples = answers { purpose in if case .filtering = purpose { false } else { true } }
            .map { question, mapped in
                PortSample(localPort: localPorts[question.socket], destination: question.destination, mapped: mapped)
            }
        var behavior = BehaviorReport(samples: samples)
        var mapped: [Endpoint] = []
        for (_, endpoint) in mappings where !mapped.contains(endpoint) { mapped.append(endpoint) }
        behavior.mapped = mapped
        behavior.isBlocked = isFinished && mappings.isEmpty
        behavior.mapping = mapping(of: mappings)
        behavior.filtering = filtering
        if let localPort = localPorts.first, !mapped.isEmpty {
            behavior.isTranslated = !mapped.allSatisfy { $0.port == localPort && hostAddresses.contains($0.address) }
        }
        if behavior.isTranslated == true {
            behavior.allocation = PortAllocation(samples)
            let outer = Set(samples.map(\.mapped.address))
            if !outer.isEmpty { behavior.pooling = outer.count == 1 ? .paired : .arbitrary }
        }
        return behavior
    }

    private func answers(_ isWanted: (Purpose) -> Bool) -> [(Question, Endpoint)] {
        questions.compactMap { question in
            guard isWanted(question.purpose), case .mapped(let endpoint) = question.outcome else { return nil }
            return (question, endpoint)
        }
    }

    private func mapping(of answers: [(question: Question, mapped: Endpoint)]) -> MappingBehavior? {
        let outer = Set(answers.map(\.mapped))
        let byAddress = Dictionary(grouping: answers, by: \.question.destination.address)
        if outer.count <= 1 { return byAddress.count >= 2 ? .endpointIndependent : nil }
        let severalPorts = byAddress.values.filter { Set($0.map(\.question.destination.port)).count > 1 }
        if severalPorts.isEmpty { return .destinationDependent }
        return severalPorts.allSatisfy { Set($0.map(\.mapped)).count == 1 }
            ? .addressDependent : .addressAndPortDependent
    }

    /// A silence says something only where the silent address was heard when it was asked.
    private var filtering: FilteringBehavior? {
        guard let (server, other) = primary else { return nil }
        func outcome(_ purpose: Purpose) -> Outcome? { questions.first { $0.purpose == purpose }?.outcome }
        func isHeard(_ endpoint: Endpoint) -> Bool {
            answers { $0 == .mapping }.contains { $0.0.destination == endpoint }
        }
        switch outcome(.filtering(fromOtherAddress: true)) {
        case .mapped: return .endpointIndependent
        case .silent where isHeard(other): break
        default: return nil
        }
        switch outcome(.filtering(fromOtherAddress: false)) {
        case .mapped: return .addressDependent
        case .silent where isHeard(Endpoint(server.address, port: other.port)): return .addressAndPortDependent
        default: return nil
        }
    }
}
