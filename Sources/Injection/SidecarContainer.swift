import JSON

/// The container and volumes that are added to a pod: `warrend sidecar` within Pod Security "restricted".
package enum SidecarContainer {
    package static let controlSocket = "/run/warren/control.sock"
    static let tokenFolder = "/etc/warren"

    static func container(_ options: AgentOptions, _ settings: InjectionSettings) -> JSONValue {
        var members: [(String, JSONValue)] = [
            ("name", .string(Names.container)), ("image", .string(settings.image)),
        ]
        if let policy = settings.pullPolicy { members.append(("imagePullPolicy", .string(policy))) }
        if settings.style == .native { members.append(("restartPolicy", "Always")) }
        members += [
            ("command", .array(command(options, settings).map(JSONValue.string))),
            ("env", .array(variables(settings.token.isSecret ? options.name : ""))),
            (
                // The application starts when the mesh can be reached, and the peers that it requires.
                "startupProbe",
                [
                    "exec": ask("ready"), "periodSeconds": 1, "timeoutSeconds": 5,
                    "failureThreshold": JSONValue(integer: settings.startupSeconds),
                ]
            ),
            (
                // That it moves what it has: a hub that is away is no reason to start anew.
                "livenessProbe",
                probe(options, "/livez", JSONValue.Member("exec", ask("live")), every: 20)
            ),
        ]
        // By HTTP alone: a command for each pod and each period would cost a node more than the sidecars do. Without a port,
        // the startup probe has the last word.
        if let port = options.metricsPort {
            members.append(("readinessProbe", probe(options, "/readyz", nil, every: 5)))
            members.append(
                ("ports", [["name": .string(Names.metricsPortName), "containerPort": JSONValue(integer: Int(port))]]))
        }
        // No preStop hook: the kubelet runs a sidecar's at the start of the pod's end, while the application still
        // works, so that `warren leave` would cut it off. The sidecar's SIGTERM comes after the application has ended.
        if settings.style == .plain { members.append(("lifecycle", ["postStart": ["exec": waiting(settings)]])) }
        members += [
            ("securityContext", securityContext), ("resources", resources(settings)),
            ("volumeMounts", .array(mounts(settings))),
        ]
        return .object(members.map { JSONValue.Member($0.0, $0.1) })
    }

    private static func probe(
        _ options: AgentOptions, _ path: JSONValue, _ command: JSONValue.Member?, every period: Int
    ) -> JSONValue {
        var action: [JSONValue.Member] = command.map { [$0] } ?? []
        if options.metricsPort != nil {
            action = [.init("httpGet", ["path": path, "port": .string(Names.metricsPortName)])]
        }
        return .object(
            action + [
                .init("periodSeconds", JSONValue(integer: period)), .init("timeoutSeconds", 5),
                .init("failureThreshold", 3),
            ])
    }

    private static func command(_ options: AgentOptions, _ settings: InjectionSettings) -> [String] {
        var words = ["warrend", "sidecar"]
        switch settings.token {
        case .secret: words += ["--token-file=\(tokenFolder)/token", "--name=\(options.name)"]
        // The hub names it after pod and namespace.
        case .projected(_, _, let hub): words += ["--service-account-token=\(tokenFolder)/token", "--hub=\(hub)"]
        }
        words += ["--state-dir=/run/warren/state", "--control=\(controlSocket)", "--interface=warren0"]
        if let port = options.port { words.append("--port=\(port)") }
        if let port = options.metricsPort { words.append("--metrics-listen=[::]:\(port)") }
        if let drain = settings.drainSeconds { words.append("--drain=\(drain)") }
        if let level = options.logLevel { words.append("--log-level=\(level)") }
        if let dns = settings.dns {
            words += ["--dns-domain=\(dns.meshDomain)"] + dns.servers.map { "--dns-upstream=\($0)" }
        }
        words += options.services.map { "--service=\($0)" }
        return words + options.required.map { "--require=\($0)" }
    }

    /// Those that the name refers to.
    private static func variables(_ name: String) -> [JSONValue] {
        let fields = [
            (AgentOptions.podVariable, "metadata.name"), (AgentOptions.namespaceVariable, "metadata.namespace"),
        ]
        return fields.filter { name.contains("$(\($0.0))") }.map { field in
            ["name": .string(field.0), "valueFrom": ["fieldRef": ["fieldPath": .string(field.1)]]]
        }
    }

    private static func ask(_ question: String) -> JSONValue {
        ["command": ["warren", .string("--control=\(controlSocket)"), .string(question)]]
    }

    /// The kubelet starts the next container when the hook has ended.
    private static func waiting(_ settings: InjectionSettings) -> JSONValue {
        // The image has no shell that could loop.
        [
            "command": [
                "warren", .string("--control=\(controlSocket)"), "ready", .string("--wait=\(settings.startupSeconds)"),
            ]
        ]
    }

    private static let securityContext: JSONValue = [
        "runAsNonRoot": true, "runAsUser": JSONValue(integer: Names.uid), "runAsGroup": JSONValue(integer: Names.uid),
        "allowPrivilegeEscalation": false, "privileged": false, "readOnlyRootFilesystem": true,
        "capabilities": ["drop": ["ALL"]], "seccompProfile": ["type": "RuntimeDefault"],
    ]

    private static func resources(_ settings: InjectionSettings) -> JSONValue {
        var requests: [JSONValue.Member] = [
            .init("cpu", .string(settings.cpuRequest)), .init("memory", .string(settings.memoryRequest)),
        ]
        var limits: [JSONValue.Member] = [.init("memory", .string(settings.memoryLimit))]
        if case .resource(let name) = settings.device {
            requests.append(.init(name, "1"))
            limits.append(.init(name, "1"))
        }
        return ["requests": .object(requests), "limits": .object(limits)]
    }

    private static func mounts(_ settings: InjectionSettings) -> [JSONValue] {
        var mounts: [JSONValue] = [
            ["name": .string(Names.stateVolume), "mountPath": "/run/warren"],
            ["name": .string(Names.tokenVolume), "mountPath": .string(tokenFolder), "readOnly": true],
            // An empty folder, where the API server would mount the pod's own API token, which the sidecar has no use for.
            [
                "name": .string(Names.stateVolume), "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
                "subPath": "no-api-token", "readOnly": true,
            ],
        ]
        if settings.device == .hostPath {
            mounts.append(["name": .string(Names.deviceVolume), "mountPath": "/dev/net/tun"])
        }
        return mounts
    }

    static func volumes(_ options: AgentOptions, _ settings: InjectionSettings) -> [JSONValue] {
        var volumes: [JSONValue] = [
            // Memory, never disk: the identity key is in it, and lives as long as the pod.
            ["name": .string(Names.stateVolume), "emptyDir": ["medium": "Memory", "sizeLimit": "1Mi"]],
            [
                "name": .string(Names.tokenVolume),
                // 0444, as the file is root's and fsGroup is the application's to choose; no other container has it.
                "projected": ["defaultMode": JSONValue(integer: 0o444), "sources": .array(sources(options, settings))],
            ],
        ]
        if settings.device == .hostPath {
            volumes.append([
                "name": .string(Names.deviceVolume), "hostPath": ["path": "/dev/net/tun", "type": "CharDevice"],
            ])
        }
        return volumes
    }

    private static func sources(_ options: AgentOptions, _ settings: InjectionSettings) -> [JSONValue] {
        var sources: [JSONValue] = []
        switch settings.token {
        case .secret(let name, let key):
            let secret: JSONValue = [
                "name": .string(options.tokenSecret ?? name),
                "items": [["key": .string(key), "path": "token"]],
            ]
            sources.append(["secret": secret])
        case .projected(let audience, let seconds, _):
            let token: JSONValue = [
                "audience": .string(audience), "expirationSeconds": JSONValue(integer: seconds), "path": "token",
            ]
            sources.append(["serviceAccountToken": token])
        }
        return sources
    }
}
