import JSON

/// What the API server asks (admission.k8s.io/v1, AdmissionReview.request), as far as it is needed.
struct AdmissionReview {
    let uid: String
    /// As `pods` or `pods/ephemeralcontainers`; with the group in front where it is not the core's.
    let resource: String
    let operation: String
    let namespace: String?
    /// Nil for DELETE.
    let object: JSONValue?

    init(_ body: [UInt8]) throws(AdmissionError) {
        let review: JSONValue
        do { review = try JSONValue(parsing: body) } catch { throw .malformed("\(error)") }
        guard review["kind"]?.text == "AdmissionReview" else { throw .malformed("kind is not AdmissionReview") }
        guard review["apiVersion"]?.text == "admission.k8s.io/v1" else {
            throw .unsupportedVersion(review["apiVersion"]?.text ?? "none")
        }
        guard let request = review["request"], request.members != nil else { throw .malformed("there is no request") }
        guard let uid = request["uid"]?.text, (1...128).contains(uid.utf8.count) else {
            throw .malformed("request.uid is no uid")
        }
        guard let resource = request["resource"], let plural = resource["resource"]?.text,
            let operation = request["operation"]?.text
        else { throw .malformed("request.resource or request.operation is missing") }
        self.uid = uid
        let group = resource["group"]?.text ?? ""
        let subresource = request["subResource"]?.text ?? ""
        self.resource = (group.isEmpty ? "" : group + "/") + plural + (subresource.isEmpty ? "" : "/" + subresource)
        self.operation = operation
        namespace = request["namespace"]?.text
        let object = request["object"]
        self.object = object == .null ? nil : object
    }
}

/// A request that is no review: answered with 400, so that the API server follows its failure policy.
package enum AdmissionError: Error, Equatable, Sendable, CustomStringConvertible {
    case malformed(String)
    case unsupportedVersion(String)

    package var description: String {
        switch self {
        case .malformed(let what): "admission review: \(what)"
        case .unsupportedVersion(let version):
            "admission review: version \(version.prefix(64)) is not spoken; admissionReviewVersions must have v1"
        }
    }
}
