/// Where a network's store is.
package struct StoreLocation: Hashable, Sendable {
    /// An absolute path, best on tmpfs.
    package let dataDir: String
    package let network: String

    package init(dataDir: String, network: String) {
        self.dataDir = dataDir
        self.network = network
    }

    /// The folder of reservations, in host-local's layout.
    package var addresses: String { "\(dataDir)/networks/\(network)" }
}
