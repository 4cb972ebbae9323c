import Membership

/// What the installation decides, for all pods alike.
package struct InjectionSettings: Equatable, Sendable {
    /// What proves to the hub that this pod may join.
    package enum TokenSource: Equatable, Sendable {
        /// A join token in a Secret of the pod's namespace, under `key`.
        case secret(name: String, key: String)
        /// The pod's service account, by a token for `audience` alone that lasts `seconds` and is renewed by the kubelet; `hub`
        /// is the public text by which the sidecar finds the hub.
        case projected(audience: String, seconds: Int, hub: String)

        var isSecret: Bool { if case .secret = self { true } else { false } }
    }

    /// How the sidecar comes by the TUN device (see the plugin's documentation).
    package enum DeviceSource: Equatable, Sendable {
        /// The node's /dev/net/tun, as a hostPath: not within Pod Security "baseline" or "restricted".
        case hostPath
        /// A device plugin's resource, as `warren.dev/tun`.
        case resource(String)
        /// The node agent hands over the descriptor: nothing is mounted.
        case node
    }

    /// How pods find names: those of the mesh by the sidecar, all others by the cluster's servers.
    package struct DNS: Equatable, Sendable {
        /// The cluster's name servers, as `ADDRESS` or `ADDRESS:PORT`.
        package var servers: [String]
        package var clusterDomain: String
        package var meshDomain: String

        package init(servers: [String], clusterDomain: String = "cluster.local", meshDomain: String) {
            self.servers = servers
            self.clusterDomain = clusterDomain
            self.meshDomain = meshDomain
        }
    }

    package enum Style: String, Sendable {
        /// First in initContainers with restartPolicy Always (Kubernetes 1.29 and newer).
        case native
        /// First in containers: what older clusters can do.
        case plain
    }

    package var image: String
    package var pullPolicy: String?
    package var token: TokenSource
    package var device: DeviceSource
    package var style: Style
    package var cpuRequest: String
    package var memoryRequest: String
    package var memoryLimit: String
    /// How long the mesh may take before the sidecar is started anew.
    package var startupSeconds: Int
    /// Nil leaves pods the DNS that they have.
    package var dns: DNS?
    /// Where the sidecar serves health and metrics; nil for nowhere.
    package var metricsPort: UInt16?
    /// How long the sidecar waits at its end for connections to end; nil for its own default.
    package var drainSeconds: Int?

    package init(
        image: String, pullPolicy: String? = nil, token: TokenSource = .secret(name: "warren-token", key: "token"),
        device: DeviceSource = .hostPath, style: Style = .native,
        cpuRequest: String = "50m", memoryRequest: String = "32Mi", memoryLimit: String = "128Mi",
        startupSeconds: Int = 60, dns: DNS? = nil, metricsPort: UInt16? = nil, drainSeconds: Int? = nil
    ) {
        self.image = image
        self.pullPolicy = pullPolicy
        self.token = token
        self.device = device
        self.style = style
        self.cpuRequest = cpuRequest
        self.memoryRequest = memoryRequest
        self.memoryLimit = memoryLimit
        self.startupSeconds = startupSeconds
        self.dns = dns
        self.metricsPort = metricsPort
        self.drainSeconds = drainSeconds
    }
}

extension InjectionSettings {
    /// A DNS subdomain (RFC 1123), as the API wants for the names of Secrets and ConfigMaps.
    package static func isObjectName(_ text: String) -> Bool {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        return text.utf8.count <= 253 && parts.allSatisfy { AgentName.isValid(String($0)) }
    }

    /// A resource quantity of the API: a decimal number with one of its suffixes.
    package static func isQuantity(_ text: String) -> Bool {
        let number = text.prefix { $0.isASCII && $0.isNumber || $0 == "." }
        let suffixes = ["", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"]
        return Double(number).map { $0 > 0 } ?? false && suffixes.contains(String(text.dropFirst(number.count)))
    }
}
