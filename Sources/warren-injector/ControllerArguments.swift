import ArgumentParser
import ClusterControl
import Glibc
import Injector
import Kubernetes
import Logging

/// What the controller can be told. It runs where the certificates are the cluster's.
struct ControllerArguments: ParsableArguments {
    @Flag(
        inversion: .prefixedNo,
        help: "Taint nodes whose node agent is not ready, and evict pods that asked for the sidecar and run without.")
    var controller = true
    @Flag(help: "Say, count and tell by events what the controller would do, and do nothing.") var dryRun = false
    @Option(help: ArgumentHelp("Which pods of our namespace are node agents.", valueName: "label=value"))
    var nodeAgentLabel = "app.kubernetes.io/name=warren-node"
    @Option(
        help: ArgumentHelp(
            "Which nodes have one, as the DaemonSet's nodeSelector (again for more).", valueName: "label=value"))
    var nodeSelector = ["kubernetes.io/os=linux"]
    @Option(help: ArgumentHelp("How many of the nodes are tainted at most.", valueName: "percent")) var taintShare = 50
    @Option(help: ArgumentHelp("How many pods are evicted in a minute at most; 0 for none.", valueName: "number"))
    var evictionsPerMinute: UInt64 = 10
    @Option(
        help: ArgumentHelp(
            "How many pods of one owner may be on their way at once; one at least.", valueName: "percent"))
    var evictionShare = 25

    /// Nil where it is turned off.
    func controller(_ logger: Logger) throws -> Controller? {
        guard controller else { return nil }
        guard (0...100).contains(taintShare), (0...100).contains(evictionShare), evictionsPerMinute <= 10000 else {
            throw InjectorError.option(
                "--taint-share and --eviction-share are percents, --evictions-per-minute at most 10000")
        }
        let cluster = try ClusterConfiguration.inCluster()
        var options = ControllerOptions(namespace: cluster.namespace, identity: try Self.identity())
        options.agents = try Self.label(nodeAgentLabel, "--node-agent-label")
        options.nodes = try nodeSelector.map { try Self.label($0, "--node-selector") }
        options.taintShare = taintShare
        options.evictionsPerMinute = evictionsPerMinute
        options.evictionShare = evictionShare
        options.isDryRun = dryRun
        return Controller(try KubernetesClient(cluster), options, logger: logger)
    }

    private static func label(_ text: String, _ option: String) throws -> ControllerOptions.Label {
        guard let label = ControllerOptions.Label(text) else {
            throw InjectorError.option("\(option) \(text): LABEL=VALUE is needed")
        }
        return label
    }

    /// The pod's name, by which the kubelet calls its host, and what tells one life of it from the next.
    private static func identity() throws -> String {
        var name = utsname()
        guard unsafe uname(&name) == 0 else { throw InjectorError.option("the host's name can't be read") }
        let host = unsafe withUnsafeBytes(of: &name.nodename) { bytes in
            unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
        return "\(host)_\(String(UInt32.random(in: 0...UInt32.max), radix: 16))"
    }
}
