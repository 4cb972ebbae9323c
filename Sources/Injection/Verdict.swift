import JSON

/// What is done with a pod.
package struct Verdict: Equatable, Sendable {
    package enum Outcome: Equatable, Sendable {
        /// The pod stays as it is; why.
        case untouched(String)
        case injected(JSONPatch)
        /// The pod must not be created; what is wrong and what to do.
        case refused(String)
    }

    package var outcome: Outcome
    /// What its author should know, a line each.
    package var warnings: [String] = []
}

/// Why a pod can't have a sidecar, and what to do.
struct Refusal: Error, Equatable {
    let message: String

    init(_ what: String, instead: String? = nil) {
        message = "\(what); \(instead.map { "\($0), or " } ?? "")label the pod \(Names.inject): \(Names.disabled)"
    }
}

/// Where a pod comes from, besides its own text.
package struct PodOrigin: Equatable, Sendable {
    /// Nil where it isn't known yet.
    package var namespace: String?
    /// Whether its namespace's label, or a person's command, asks for the sidecar.
    package var isAskedFor: Bool
    /// Whether a Job owns it, so that it must end.
    package var isJob: Bool

    package init(namespace: String? = nil, isAskedFor: Bool, isJob: Bool = false) {
        self.namespace = namespace
        self.isAskedFor = isAskedFor
        self.isJob = isJob
    }
}
