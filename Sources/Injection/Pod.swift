import JSON

/// A pod as its author, and whoever came between, wrote it; read without trust in its types.
struct Pod {
    struct Container {
        enum List: String, CaseIterable { case initContainers, containers, ephemeralContainers }

        let list: List
        let name: String
        let value: JSONValue

        var securityContext: JSONValue? { value["securityContext"] }
        /// As a message names it: `container web`.
        var title: String {
            switch list {
            case .initContainers: "init container \(name.prefix(63))"
            case .containers: "container \(name.prefix(63))"
            case .ephemeralContainers: "ephemeral container \(name.prefix(63))"
            }
        }

        var addedCapabilities: [String] {
            (securityContext?["capabilities"]?["add"]?.elements ?? []).compactMap(\.text)
        }
    }

    let metadata: JSONValue?
    let spec: JSONValue
    let containers: [Container]

    init(_ pod: JSONValue) throws(Refusal) {
        guard let spec = pod["spec"], spec.members != nil else { throw Self.malformed("spec", "an object") }
        self.spec = spec
        metadata = pod["metadata"]
        guard metadata.map(Self.isObjectOrNull) ?? true else { throw Self.malformed("metadata", "an object") }
        for key in ["labels", "annotations"] {
            guard metadata?[key].map(Self.isObjectOrNull) ?? true else {
                throw Self.malformed("metadata.\(key)", "an object")
            }
        }
        guard spec["securityContext"].map(Self.isObjectOrNull) ?? true else {
            throw Self.malformed("spec.securityContext", "an object")
        }
        var containers: [Container] = []
        for list in Container.List.allCases {
            for value in try Self.objects(list.rawValue, in: spec) {
                containers.append(Container(list: list, name: value["name"]?.text ?? "", value: value))
            }
        }
        self.containers = containers
        _ = try Self.objects("volumes", in: spec)
    }

    /// The objects of a list that may be missing or null.
    private static func objects(_ key: String, in spec: JSONValue) throws(Refusal) -> [JSONValue] {
        guard let list = spec[key], list != .null else { return [] }
        guard let elements = list.elements, elements.allSatisfy({ $0.members != nil }) else {
            throw malformed("spec.\(key)", "a list of objects")
        }
        return elements
    }

    private static func isObjectOrNull(_ value: JSONValue) -> Bool { value.members != nil || value == .null }

    private static func malformed(_ what: String, _ expected: String) -> Refusal {
        Refusal("\(what) is not \(expected)", instead: "correct it")
    }

    func label(_ name: String) -> String? { metadata?["labels"]?[name]?.text }
    func annotation(_ name: String) -> String? { metadata?["annotations"]?[name]?.text }
    func isTrue(_ key: String) -> Bool { spec[key]?.flag == true }

    var volumeNames: [String] { (spec["volumes"]?.elements ?? []).compactMap { $0["name"]?.text } }

    /// The sidecar, if a container has its name.
    var sidecar: Container? { containers.first { $0.name == Names.container } }
    var others: [Container] { containers.filter { $0.name != Names.container } }

    /// The uid that `container` runs as, as far as the pod says it: else it is the image's.
    func uid(of container: Container) -> Int64? {
        (container.securityContext?["runAsUser"] ?? spec["securityContext"]?["runAsUser"])?.integer
    }

    /// The pod's name; where the API server has yet to make it, one as long as it will be.
    var expectedName: String? {
        if let name = metadata?["name"]?.text, !name.isEmpty { return name }
        // The API server keeps 58 characters and appends 5.
        guard let base = metadata?["generateName"]?.text, !base.isEmpty else { return nil }
        return base.prefix(58) + "xxxxx"
    }

    var isJob: Bool {
        (metadata?["ownerReferences"]?.elements ?? []).contains { $0["kind"]?.text == "Job" }
    }
}
