import JSON
import Membership

/// What a pod's annotations say of its agent.
struct AgentOptions: Equatable {
    /// With Kubernetes' references to variables, as `$(POD_NAME)`.
    var name: String
    var required: [String] = []
    /// The ports of the pod that have a name, in their order.
    var services: [AgentService] = []
    var port: UInt16?
    var logLevel: String?
    var tokenSecret: String?
    /// Nil for none.
    var metricsPort: UInt16?

    static let podVariable = "POD_NAME"
    static let namespaceVariable = "POD_NAMESPACE"

    static let logLevels = ["trace", "debug", "info", "notice", "warning", "error", "critical"]

    init(_ pod: Pod, _ origin: PodOrigin, _ settings: InjectionSettings) throws(Refusal) {
        if case .projected = settings.token {
            if let text = pod.annotation(Names.name) {
                throw Self.invalid(
                    Names.name, text, "left out: where pods join by service account, agents are called POD.NAMESPACE")
            }
            name = try Self.name("{pod}.{namespace}", pod, origin)
        } else {
            name = try Self.name(pod.annotation(Names.name) ?? "{pod}", pod, origin)
        }
        if let text = pod.annotation(Names.require) {
            required = text.split(separator: ",").map { String($0.filter { $0 != " " }) }
            guard !required.isEmpty, required.count <= 32, required.allSatisfy(AgentName.isValid) else {
                throw Self.invalid(Names.require, text, "1 to 32 names of agents, separated by commas")
            }
        }
        services = Self.services(of: pod)
        if let text = pod.annotation(Names.port) {
            guard let number = UInt16(text), number >= 1024 else {
                throw Self.invalid(Names.port, text, "a UDP port from 1024 to 65535")
            }
            port = number
        }
        if let text = pod.annotation(Names.logLevel) {
            guard Self.logLevels.contains(text) else {
                throw Self.invalid(Names.logLevel, text, "one of \(Self.logLevels.joined(separator: ", "))")
            }
            logLevel = text
        }
        metricsPort = settings.metricsPort
        if let text = pod.annotation(Names.metricsPort) {
            guard let number = UInt16(text), number == 0 || number >= 1024 else {
                throw Self.invalid(Names.metricsPort, text, "a TCP port from 1024 to 65535, or 0 for none")
            }
            metricsPort = number == 0 ? nil : number
        }
        if let text = pod.annotation(Names.tokenSecret) {
            guard case .secret = settings.token else {
                throw Self.invalid(Names.tokenSecret, text, "left out: this installation joins by service account")
            }
            guard InjectionSettings.isObjectName(text) else {
                throw Self.invalid(Names.tokenSecret, text, "a Secret's name")
            }
            tokenSecret = text
        }
    }

    /// Named ports as Kubernetes has them (IANA_SVC_NAME), which its own DNS makes SRV records of too. What is none, or one
    /// too many, is nobody's mistake.
    private static func services(of pod: Pod) -> [AgentService] {
        var services: [AgentService] = []
        for container in pod.others where container.list == .containers {
            for port in container.value["ports"]?.elements ?? [] {
                guard let name = port["name"]?.text,
                    let number = port["containerPort"]?.integer.flatMap({ UInt16(exactly: $0) }),
                    let service = AgentService(
                        name: name, transport: (port["protocol"]?.text ?? "TCP").lowercased(),
                        port: number),
                    !services.contains(service), services.count < AgentService.limit
                else { continue }
                services.append(service)
            }
        }
        return services
    }

    /// Checks the pattern with what is known of the pod, and leaves the rest to the kubelet.
    private static func name(_ pattern: String, _ pod: Pod, _ origin: PodOrigin) throws(Refusal) -> String {
        let podName = pod.expectedName ?? "x"
        let example = fill(pattern, pod: podName, namespace: origin.namespace ?? "x")
        guard AgentName.isValid(example) else {
            let expected =
                "a DNS name of at most \(AgentName.lengthLimit) characters, \(AgentName.labelLimit) between dots; {pod} and {namespace} may be in it"
            guard pod.annotation(Names.name) != nil else {
                throw Refusal(
                    "the pod's name \(podName.prefix(80)) can't be its agent's, which is \(expected)",
                    instead: "annotate it \(Names.name)")
            }
            throw invalid(Names.name, pattern, expected + " (here it would be \(example.prefix(80)))")
        }
        return fill(pattern, pod: "$(\(podVariable))", namespace: "$(\(namespaceVariable))")
    }

    private static func fill(_ pattern: String, pod: String, namespace: String) -> String {
        var rest = pattern[...]
        var text = ""
        while let character = rest.first {
            if rest.hasPrefix("{pod}") {
                text += pod
                rest = rest.dropFirst(5)
            } else if rest.hasPrefix("{namespace}") {
                text += namespace
                rest = rest.dropFirst(11)
            } else {
                text.append(character)
                rest = rest.dropFirst()
            }
        }
        return text
    }

    private static func invalid(_ annotation: String, _ value: String, _ expected: String) -> Refusal {
        Refusal("annotation \(annotation): \"\(value.prefix(80))\" must be \(expected)", instead: "correct it")
    }
}
