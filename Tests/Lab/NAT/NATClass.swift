/// A kind of NAT as RFC 4787 tells them apart, and how the lab's router is made to be one.
package struct NATClass: Sendable {
    /// Section 4.1: which destinations share a mapping.
    package enum Mapping: String, Sendable, Codable {
        case endpointIndependent = "EIM"
        case addressDependent = "ADM"
        case addressAndPortDependent = "APDM"
    }

    /// Section 5: whose packets a mapping lets in.
    package enum Filtering: String, Sendable, Codable {
        case endpointIndependent = "EIF"
        case addressDependent = "ADF"
        case addressAndPortDependent = "APDF"
    }

    /// Section 4.2: which outside port a mapping gets.
    package enum Allocation: Sendable, Equatable {
        /// The inside port, where it is free.
        case preserving
        /// Another one, the same each time.
        case rewritten
        /// One after the other.
        case sequential
        case random(ClosedRange<Int>)
    }

    /// The word for it on command lines, in tables and in reports.
    package let id: String
    /// For a person: at most a line.
    package let title: String
    /// Nil where no UDP passes.
    package let behaviour: Behaviour?
    /// Where it stands in the pair table.
    package let column: Column
    /// What the site's own router does.
    package let router: Recipe
    /// What the provider's does, when that shares its addresses between customers (RFC 6888).
    package let provider: Recipe?

    package struct Behaviour: Sendable, Equatable {
        package let mapping: Mapping
        package let filtering: Filtering
        package let allocation: Allocation
    }

    init(
        _ id: String, _ title: String, _ column: Column, _ behaviour: Behaviour?, _ router: Recipe,
        behind provider: Recipe? = nil
    ) {
        self.id = id
        self.title = title
        self.column = column
        self.behaviour = behaviour
        self.router = router
        self.provider = provider
    }

    /// The class of that name.
    package static func named(_ id: String) throws -> NATClass {
        guard let found = (all + hostile).first(where: { $0.id == id }) else {
            throw LabError.unexpected("no NAT class \(id); known: \(all.map(\.id).joined(separator: " "))")
        }
        return found
    }
}

extension NATClass: Hashable {
    package static func == (left: NATClass, right: NATClass) -> Bool { left.id == right.id }
    package func hash(into hasher: inout Hasher) { hasher.combine(id) }
}

extension NATClass.Behaviour {
    init(
        _ mapping: NATClass.Mapping, _ filtering: NATClass.Filtering, _ allocation: NATClass.Allocation
    ) {
        self.init(mapping: mapping, filtering: filtering, allocation: allocation)
    }
}
