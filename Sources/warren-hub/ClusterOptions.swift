import ArgumentParser
import Hub
import Kubernetes
import Logging
import Membership

/// Where this pod's own service account is.
struct ServiceAccountOption: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Where this pod's service account is mounted, by which the API server knows it.", valueName: "dir"))
    var serviceAccountDir = ClusterConfiguration.folder

    func configuration() throws(KubernetesError) -> ClusterConfiguration {
        try ClusterConfiguration.inCluster(folder: serviceAccountDir)
    }
}

/// `warren-hub init --in-cluster`: keys that are made where they are used, and never leave the cluster.
struct ClusterInit: ParsableArguments {
    @Flag(help: "Keep the keys in the cluster that this pod is of, not in a folder.")
    var inCluster = false
    @Option(help: ArgumentHelp("The Secret for the keys.", valueName: "name"))
    var secret = "warren-hub-keys"
    @Option(
        help: ArgumentHelp("The ConfigMap that says, under the key hub, how the hub is found.", valueName: "name"))
    var configMap = "warren-hub"
    @OptionGroup var account: ServiceAccountOption

    func make(_ options: HubFolder.Options) async throws {
        guard options.foreignAuthority == nil else {
            throw HubError.option("--authority-key and --in-cluster: a hub of a cluster has its own authority")
        }
        let configuration = try account.configuration()
        let client = try KubernetesClient(configuration)
        let place = "Secret \(configuration.namespace)/\(secret)"
        let made = try HubKeys(making: options)
        let (files, isNew) = try await client.keepSecret(secret, in: configuration.namespace) { made.files }
        let text = try HubKeys(files, from: place).reference().text
        let isChanged = try await client.keepConfigMap(configMap, in: configuration.namespace, key: "hub", text)
        print(isNew ? "made \(place)" : "\(place) is there already: nothing was changed")
        print("\(isChanged ? "wrote" : "kept") ConfigMap \(configuration.namespace)/\(configMap)")
        print(text)
    }
}

/// `warren-hub serve --kubernetes`: pods and nodes join by their service accounts.
struct AccountArguments: ParsableArguments {
    @Flag(help: "Let pods of the cluster that this pod is of join by their service accounts' tokens.")
    var kubernetes = false
    @Option(help: ArgumentHelp("The cluster's name, a part of its agents' SPIFFE IDs.", valueName: "name"))
    var cluster = "default"
    @Option(help: ArgumentHelp("Who the tokens must be for.", valueName: "name"))
    var serviceAccountAudience = "warren"
    @Option(
        help: ArgumentHelp(
            "The service account of warren-node, whose pods lease their nodes' blocks (again for more); by default no pod may.",
            valueName: "namespace:name"))
    var nodeServiceAccount: [String] = []
    @OptionGroup var account: ServiceAccountOption

    func options(_ logger: Logger) throws -> AccountOptions? {
        guard kubernetes else {
            guard nodeServiceAccount.isEmpty else {
                throw HubError.option("--node-service-account needs --kubernetes")
            }
            return nil
        }
        guard AgentName.isValidMesh(cluster) else {
            throw HubError.option("--cluster \(cluster): use 1 to 63 lower-case letters, digits, '-' and '.'")
        }
        guard !serviceAccountAudience.isEmpty, serviceAccountAudience.utf8.count <= 253 else {
            throw HubError.option("--service-account-audience: a name is needed")
        }
        for account in nodeServiceAccount {
            let parts = account.split(separator: ":", omittingEmptySubsequences: false)
            guard parts.count == 2, parts.allSatisfy({ AgentName.isValid(String($0)) }) else {
                throw HubError.option("--node-service-account \(account): NAMESPACE:NAME is needed")
            }
        }
        let folder = account.serviceAccountDir
        let reviewer = try ClusterReviewer(cluster: cluster, audience: serviceAccountAudience, logger: logger) {
            () throws(KubernetesError) in
            try KubernetesClient(try ClusterConfiguration.inCluster(folder: folder), manners: .brief)
        }
        return AccountOptions(reviewer: reviewer, nodeAccounts: Set(nodeServiceAccount))
    }
}
