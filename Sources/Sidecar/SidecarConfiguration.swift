package import Addressing
package import Membership
package import Timing

/// What the sidecar is told at start.
package struct SidecarConfiguration: Sendable {
    package var tokenFile: String
    /// With it the agent joins as the pod that the token in this file is for, and needs no join token.
    package var account: Account?
    /// Empty for the name that the token gives.
    package var name: String
    package var stateFolder: String
    package var interface: String
    package var controlSocket: String
    /// The UDP port; 0 for any.
    package var port: UInt16
    /// Names of peers whose handshakes must be verified before this agent says that it is ready.
    package var requiredPeers: [String]
    /// Addresses, each with the mesh's prefix length, for an interface that this process makes where no plugin did.
    package var ownAddresses: [IPPrefix]
    /// The mesh's DNS domain; empty for the one that follows from the mesh's name.
    package var domain: String
    /// Name servers for what is not the mesh's; empty for those in /etc/resolv.conf.
    package var upstreams: [Endpoint]
    /// What the pod serves, for SRV records.
    package var services: [AgentService]
    /// How long SIGTERM waits at most for the connections through the mesh to end.
    package var drain: Interval
    /// Where health and metrics are; nil for nowhere.
    package var metricsListen: Endpoint?
    /// Of how many peers metrics tell one by one.
    package var metricsPeers: Int

    /// How a pod of a cluster joins.
    package struct Account: Sendable {
        /// Where the kubelet puts the service account's token.
        package var tokenFile: String
        package var hub: HubReference

        package init(tokenFile: String, hub: HubReference) {
            self.tokenFile = tokenFile
            self.hub = hub
        }
    }

    package init(
        tokenFile: String, name: String, stateFolder: String, interface: String, controlSocket: String, port: UInt16,
        requiredPeers: [String], ownAddresses: [IPPrefix] = [], account: Account? = nil, domain: String = "",
        upstreams: [Endpoint] = [], services: [AgentService] = [], drain: Interval = .seconds(25),
        metricsListen: Endpoint? = nil,
        metricsPeers: Int = 0
    ) {
        self.tokenFile = tokenFile
        self.name = name
        self.stateFolder = stateFolder
        self.interface = interface
        self.controlSocket = controlSocket
        self.port = port
        self.requiredPeers = requiredPeers
        self.ownAddresses = ownAddresses
        self.account = account
        self.domain = domain
        self.upstreams = upstreams
        self.services = services
        self.drain = drain
        self.metricsListen = metricsListen
        self.metricsPeers = metricsPeers
    }
}
