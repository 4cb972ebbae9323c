import Addressing
package import ArgumentParser
import DNS
import Glibc
package import Injection
import Linux
import Membership

/// What `warren-injector` and `warren inject` can be told about the sidecar: with the same words they give the same pod.
package struct SidecarArguments: ParsableArguments {
    @Option(help: ArgumentHelp("The sidecar's image.", valueName: "image"))
    package var image = "warren:latest"
    @Option(
        help: ArgumentHelp("Always, IfNotPresent or Never; the cluster's default if left out.", valueName: "policy"))
    package var pullPolicy: String?
    @Option(help: ArgumentHelp("The Secret with the join token, in the pod's namespace.", valueName: "name"))
    package var tokenSecret = "warren-token"
    @Option(help: ArgumentHelp("The token's key in the Secret.", valueName: "key"))
    package var tokenKey = "token"
    @Option(
        help: ArgumentHelp(
            "Join by a token of the pod's service account, in place of a join token: at the hub whose public text is in this file (warren-hub advertise --public).",
            valueName: "file"))
    package var hubFile: String?
    @Option(help: ArgumentHelp("Who the service account's token is for.", valueName: "name"))
    package var tokenAudience = "warren"
    @Option(
        help: ArgumentHelp(
            "How the sidecar comes by the TUN device: hostPath, node (the node agent hands it over) or a device plugin's resource.",
            valueName: "source"))
    package var device = "hostPath"
    @Flag(help: "Add a plain container instead of a native sidecar: before Kubernetes 1.29.")
    package var plainSidecar = false
    @Option(help: ArgumentHelp("The cluster's version, which decides between native and plain.", valueName: "1.MINOR"))
    package var kubernetesVersion: String?
    @Option(help: ArgumentHelp("The CPU that is requested.", valueName: "quantity"))
    package var cpuRequest = "50m"
    @Option(help: ArgumentHelp("The memory that is requested.", valueName: "quantity"))
    package var memoryRequest = "32Mi"
    @Option(help: ArgumentHelp("The most memory it may use.", valueName: "quantity"))
    package var memoryLimit = "128Mi"
    @Option(help: ArgumentHelp("How long the mesh may take before the sidecar starts anew.", valueName: "seconds"))
    package var startupTimeout = 60
    @Option(
        help: ArgumentHelp(
            "The cluster's name server (again for more, at most 3): pods find names of the mesh too, and all others there; 'resolv.conf' for those that this process has, as a pod of the cluster.",
            valueName: "address"))
    package var clusterDns: [String] = []
    @Option(help: ArgumentHelp("The cluster's domain.", valueName: "domain"))
    package var clusterDomain = "cluster.local"
    @Option(help: ArgumentHelp("The mesh's domain, as MESH.warren.internal; with --cluster-dns.", valueName: "domain"))
    package var meshDomain: String?
    @Option(
        help: ArgumentHelp("The port of each sidecar's health and metrics; 0 for none.", valueName: "port"))
    package var metricsPort: UInt16 = 19586
    @Option(
        help: ArgumentHelp("How long a sidecar waits at its end for connections to end.", valueName: "seconds"))
    package var sidecarDrain = 25

    package init() {}

    package func validate() throws { _ = try settings() }

    package func settings() throws -> InjectionSettings {
        guard !image.isEmpty, image.utf8.count <= 512, !image.contains(where: \.isWhitespace) else {
            throw ValidationError("--image \(image): not an image")
        }
        if let pullPolicy, !["Always", "IfNotPresent", "Never"].contains(pullPolicy) {
            throw ValidationError("--pull-policy \(pullPolicy): Always, IfNotPresent or Never is needed")
        }
        guard InjectionSettings.isObjectName(tokenSecret) else {
            throw ValidationError("--token-secret \(tokenSecret): not a name")
        }
        guard !tokenAudience.isEmpty, tokenAudience.utf8.count <= 253, !tokenAudience.contains(where: \.isWhitespace)
        else { throw ValidationError("--token-audience \(tokenAudience): not a name") }
        for (option, quantity) in [
            ("--cpu-request", cpuRequest), ("--memory-request", memoryRequest), ("--memory-limit", memoryLimit),
        ] where !InjectionSettings.isQuantity(quantity) {
            throw ValidationError("\(option) \(quantity): a quantity is needed, as 50m or 64Mi")
        }
        guard (1...3600).contains(startupTimeout) else {
            throw ValidationError("--startup-timeout \(startupTimeout): 1 to 3600 seconds")
        }
        guard metricsPort == 0 || metricsPort >= 1024 else {
            throw ValidationError("--metrics-port \(metricsPort): 1024 to 65535, or 0 for none")
        }
        guard (0...86400).contains(sidecarDrain) else {
            throw ValidationError("--sidecar-drain \(sidecarDrain): 0 to 86400 seconds")
        }
        let source: InjectionSettings.DeviceSource
        switch device {
        case "hostPath": source = .hostPath
        case "node": source = .node
        default:
            guard device.contains("/"), !device.contains(where: \.isWhitespace) else {
                throw ValidationError("--device \(device): hostPath, node or a resource (as warren.dev/tun) is needed")
            }
            source = .resource(device)
        }
        return InjectionSettings(
            image: image, pullPolicy: pullPolicy,
            token: try tokenSource(), device: source, style: try style(), cpuRequest: cpuRequest,
            memoryRequest: memoryRequest, memoryLimit: memoryLimit, startupSeconds: startupTimeout, dns: try dns(),
            metricsPort: metricsPort == 0 ? nil : metricsPort, drainSeconds: sidecarDrain)
    }

    private func dns() throws -> InjectionSettings.DNS? {
        guard let meshDomain else {
            guard clusterDns.isEmpty else { throw ValidationError("--cluster-dns: --mesh-domain is needed with it") }
            return nil
        }
        let servers = clusterDns == ["resolv.conf"] ? try Self.ownServers() : clusterDns
        guard (1...ServerList.limit).contains(servers.count) else {
            throw ValidationError("--mesh-domain: one to three --cluster-dns are needed with it")
        }
        for server in servers where ServerList.endpoint(server) == nil {
            throw ValidationError("--cluster-dns \(server): an address is needed, with a port or without")
        }
        for (option, domain) in [("--cluster-domain", clusterDomain), ("--mesh-domain", meshDomain)]
        where !InjectionSettings.isObjectName(domain) {
            throw ValidationError("\(option) \(domain): not a domain")
        }
        return InjectionSettings.DNS(servers: servers, clusterDomain: clusterDomain, meshDomain: meshDomain)
    }

    /// Those of the cluster, where this is a pod of it.
    private static func ownServers() throws -> [String] {
        let file = "/etc/resolv.conf"
        let text: [UInt8]
        do { text = try FileDescriptor(open: file, O_RDONLY).readToEnd(limit: 65536) } catch {
            throw ValidationError("--cluster-dns resolv.conf: \(error)")
        }
        let servers = ServerList.servers(inResolvConf: String(decoding: text, as: UTF8.self), besides: [])
        guard !servers.isEmpty else { throw ValidationError("--cluster-dns resolv.conf: \(file) names no server") }
        return servers.map { "\($0.address)" }
    }

    private func tokenSource() throws -> InjectionSettings.TokenSource {
        guard let hubFile else { return .secret(name: tokenSecret, key: tokenKey) }
        return .projected(audience: tokenAudience, seconds: 3600, hub: try Self.hubText(in: hubFile))
    }

    /// The hub's public text, as it is written.
    package static func hubText(in file: String) throws -> String {
        do {
            let bytes = try FileDescriptor(open: file, O_RDONLY | O_NONBLOCK).readToEnd(limit: 4096)
            return try HubReference(String(decoding: bytes, as: UTF8.self)).text
        } catch { throw ValidationError("--hub-file \(file): \(error)") }
    }

    /// Native sidecars are there, without a feature gate, since Kubernetes 1.29.
    private func style() throws -> InjectionSettings.Style {
        guard let kubernetesVersion else { return plainSidecar ? .plain : .native }
        let parts = kubernetesVersion.drop { $0 == "v" }.split(separator: ".")
        guard parts.count >= 2, parts[0] == "1", let minor = Int(parts[1].prefix { $0.isNumber }) else {
            throw ValidationError("--kubernetes-version \(kubernetesVersion): 1.MINOR is needed")
        }
        return plainSidecar || minor < 29 ? .plain : .native
    }
}
