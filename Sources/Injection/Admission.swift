import Addressing
import JSON

/// Answers the API server's reviews.
package struct Admission: Sendable {
    /// How a review ended, for logs and metrics.
    package enum Outcome: String, CaseIterable, Sendable { case injected, untouched, refused }

    package struct Answer: Sendable {
        /// The AdmissionReview to send back.
        package let body: [UInt8]
        package let outcome: Outcome
        /// One line on what was done with which pod, for the log.
        package let summary: String
    }

    private let injection: SidecarInjection

    package init(_ injection: SidecarInjection) { self.injection = injection }

    /// - Parameters:
    ///   - body: the AdmissionReview, as it came.
    ///   - isAskedFor: whether the pod's namespace asks for the sidecar, which the configuration of the webhook tells by
    ///     the path.
    package func answer(_ body: [UInt8], isAskedFor: Bool) throws(AdmissionError) -> Answer {
        let review = try AdmissionReview(body)
        let verdict = verdict(on: review, isAskedFor: isAskedFor)
        let name = review.object?["metadata"].flatMap { $0["name"]?.text ?? $0["generateName"]?.text } ?? "?"
        let subject = "\(review.resource) \(review.namespace ?? "?")/\(name)"
        var response: [JSONValue.Member] = [.init("uid", .string(review.uid))]
        let outcome: Outcome
        let text: String
        switch verdict.outcome {
        case .untouched(let reason):
            response.append(.init("allowed", true))
            (outcome, text) = (.untouched, "left alone: \(reason)")
        case .injected(let patch):
            response.append(.init("allowed", true))
            response.append(.init("patchType", "JSONPatch"))
            response.append(.init("patch", .string(Base64.encode(patch.document.serialized))))
            (outcome, text) = (.injected, "gets the sidecar")
        case .refused(let message):
            response.append(.init("allowed", false))
            response.append(
                .init(
                    "status",
                    [
                        "status": "Failure", "reason": "Forbidden", "code": 403,
                        "message": .string("warren: \(message)"),
                    ]))
            (outcome, text) = (.refused, "refused: \(message)")
        }
        if !verdict.warnings.isEmpty {
            response.append(.init("warnings", .array(Self.fitting(verdict.warnings).map(JSONValue.string))))
        }
        let answer: JSONValue = [
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": .object(response),
        ]
        return Answer(body: answer.serialized, outcome: outcome, summary: Self.line("\(subject.prefix(320)) \(text)"))
    }

    /// Names come unchecked: none may start a line of its own in the log.
    private static func line(_ text: String) -> String {
        String(
            String.UnicodeScalarView(text.unicodeScalars.map { $0.properties.generalCategory == .control ? "?" : $0 }))
    }

    private func verdict(on review: AdmissionReview, isAskedFor: Bool) -> Verdict {
        switch (review.resource, review.operation) {
        case ("pods", "CREATE"):
            guard let pod = review.object else { return Verdict(outcome: .refused("the review has no pod")) }
            return injection.verdict(on: pod, from: PodOrigin(namespace: review.namespace, isAskedFor: isAskedFor))
        case ("pods/ephemeralcontainers", "CREATE"), ("pods/ephemeralcontainers", "UPDATE"):
            guard let pod = review.object else { return Verdict(outcome: .refused("the review has no pod")) }
            return injection.ephemeralVerdict(on: pod)
        default:
            // The containers of a pod that is there can't change, and nothing else is the injector's business.
            return Verdict(outcome: .untouched("\(review.operation.prefix(16)) is no concern of the injector"))
        }
    }

    /// The API server shows warnings up to 256 characters, and 4096 in all.
    private static func fitting(_ warnings: [String]) -> [String] {
        warnings.prefix(16).map { "warren: \($0)" }.map { $0.count <= 240 ? $0 : $0.prefix(239) + "…" }
    }
}
