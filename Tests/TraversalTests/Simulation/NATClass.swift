import TestSupport
import Timing

@testable import Traversal

/// The classes of the pair table, and those of the published profiles; what a class leaves open is drawn for each trial.
enum NATClass: String, CaseIterable {
    case open = "open"
    case eimEIF = "EIM+EIF"
    case eimADF = "EIM+ADF"
    case eimAPDF = "EIM+APDF"
    case anyEIF = "any+EIF"
    case anyADF = "any+ADF"
    case sequential = "APDM seq"
    case block = "APDM block"
    case random = "APDM random"
    case blocked = "UDP blocked"
    // Only in profiles.
    case rewritten = "EIM+APDF rewritten"
    case cgn = "EIM CGN"
    // Only in tests of its own.
    case cgnRandom = "APDM random CGN"

    static let table: [NATClass] = [
        .open, .eimEIF, .eimADF, .eimAPDF, .anyEIF, .anyADF, .sequential, .block, .random, .blocked,
    ]
    static let profile: [NATClass] = [
        .open, .eimEIF, .eimADF, .eimAPDF, .rewritten, .sequential, .random, .block, .cgn, .blocked,
    ]

    /// The NATs in front of an agent, from the inside out.
    func chain(_ random: inout SeededRandom) -> [SimulatedNAT.Kind] {
        var kind = SimulatedNAT.Kind()
        switch self {
        case .open, .blocked: return []
        case .eimEIF:
            kind.filtering = .endpointIndependent
            kind.allocation = random.chance(0.5) ? .preserving : .rewritten
        case .eimADF:
            kind.filtering = .addressDependent
            kind.allocation = random.chance(0.5) ? .preserving : .rewritten
        case .eimAPDF:
            // A node or a NAT instance that accepts what comes to itself.
            kind.acceptsInput = random.chance(0.25)
        case .rewritten: kind.allocation = .rewritten
        case .anyEIF, .anyADF:
            kind.mapping = random.chance(0.5) ? .addressDependent : .addressAndPortDependent
            kind.filtering = self == .anyEIF ? .endpointIndependent : .addressDependent
            kind.allocation = .random
        case .sequential:
            kind.mapping = .addressAndPortDependent
            kind.allocation = .sequential(step: random.chance(0.8) ? 1 : 2, othersPerSecond: 1)
        case .block:
            kind.mapping = .addressAndPortDependent
            kind.allocation = .block(first: 1024 + 64 * random.below(1000), size: 64)
        case .random:
            kind.mapping = .addressAndPortDependent
            kind.allocation = .random
        case .cgnRandom:
            return [
                SimulatedNAT.Kind(), SimulatedNAT.Kind(mapping: .addressAndPortDependent, allocation: .random),
            ]
        case .cgn: return [SimulatedNAT.Kind(), SimulatedNAT.Kind(allocation: .rewritten)]
        }
        return [kind]
    }

    func plan(_ random: inout SeededRandom) -> SimulatedAgent.Plan {
        var plan = SimulatedAgent.Plan()
        plan.chain = chain(&random)
        plan.isUDPBlocked = self == .blocked
        plan.access = .milliseconds(random.between(5, 40))
        return plan
    }
}
