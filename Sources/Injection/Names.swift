/// Every name by which pods, namespaces and the injector speak of each other: labels, annotations, and what is added to a
/// pod. The manifests in manifests/base use the same.
package enum Names {
    /// Of annotations and labels.
    package static let prefix = "warren.dev/"

    /// The label on a pod or a namespace: `enabled` asks for the sidecar, `disabled` wins over anything that asks.
    package static let inject = "warren.dev/inject"
    package static let enabled = "enabled"
    package static let disabled = "disabled"

    // MARK: Annotations of a pod

    /// The agent's name, where `{pod}` and `{namespace}` stand for the pod's. By default `{pod}`.
    package static let name = "warren.dev/name"
    /// Peers whose handshakes must be verified before the application starts, separated by commas.
    package static let require = "warren.dev/require"
    /// The UDP port of the tunnel; any, by default.
    package static let port = "warren.dev/port"
    /// `trace` to `critical`.
    package static let logLevel = "warren.dev/log-level"
    /// The Secret with the join token, in place of the installation's.
    package static let tokenSecret = "warren.dev/token-secret"
    /// The TCP port of the sidecar's health and metrics, in place of the installation's; `0` for none.
    package static let metricsPort = "warren.dev/metrics-port"
    /// Set by the injector: how the sidecar was added, `native` or `plain`.
    package static let injected = "warren.dev/injected"

    /// Read by warren-cni: `"true"` or `"false"`, whether the pod gets an interface. One that is injected gets one anyway.
    package static let mesh = "warren.dev/mesh"

    static let annotations: Set<String> = [
        name, require, port, logLevel, tokenSecret, metricsPort, injected, mesh,
    ]

    /// Where the container that commands speak to by default is named (kubectl).
    static let defaultContainer = "kubectl.kubernetes.io/default-container"
    /// The API server's mirror of a pod that a node runs from a file: nothing can be added to it.
    static let mirror = "kubernetes.io/config.mirror"

    // MARK: What is added

    package static let container = "warren"
    /// Of the container's port for health and metrics, which a PodMonitor selects.
    package static let metricsPortName = "warren-metrics"
    package static let stateVolume = "warren-state"
    package static let tokenVolume = "warren-token"
    package static let deviceVolume = "warren-tun"
    static let volumes: Set<String> = [stateVolume, tokenVolume, deviceVolume]

    /// The uid that owns `warren0`, so that no other container may have it (`ownerUid` of warren-cni).
    package static let uid = 64738
}
