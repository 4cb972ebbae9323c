package import Addressing

/// What the sidecar is told at start.
package struct SidecarConfiguration: Sendable {
    package var tokenFile: String
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

    package init(
        tokenFile: String, name: String, stateFolder: String, interface: String, controlSocket: String, port: UInt16,
        requiredPeers: [String], ownAddresses: [IPPrefix] = []
    ) {
        self.tokenFile = tokenFile
        self.name = name
        self.stateFolder = stateFolder
        self.interface = interface
        self.controlSocket = controlSocket
        self.port = port
        self.requiredPeers = requiredPeers
        self.ownAddresses = ownAddresses
    }
}
