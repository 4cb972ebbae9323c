import Addressing
import NodePorts

/// How much of what a node may give to pods it has given.
package struct AddressUsage: Equatable, Sendable {
    package struct Block: Equatable, Sendable {
        package let network: String
        /// First and last address.
        package let name: String
        package let allocated: Int
        package let free: Int
    }

    package struct Ports: Equatable, Sendable {
        package let taken: Int
        package let free: Int
    }

    package var blocks: [Block] = []
    /// Nil where pods get no port of the node.
    package var ports: Ports?

    package init() {}

    /// Counts in the folders of the store, without its lock: a moment's difference does no harm.
    ///
    /// - Parameter configuration: what the plugin is given.
    package init(configuration: [UInt8]) throws(CNIError) {
        let conf = try NetConf(parsing: configuration)
        let settings = try Settings(conf)
        if let range = settings.plan?.range {
            let taken = Self.names(settings.location.addresses).count { name in
                IPv4Address(name).map { range.contains($0) } ?? false
            }
            blocks = [
                Block(
                    network: settings.network, name: "\(range)", allocated: taken, free: max(0, range.count - taken))
            ]
        }
        if let range = try conf.nodePortPolicy()?.plan.range {
            let taken = Self.names(try conf.portMap().folder).count { UInt16($0).map { range.contains($0) } ?? false }
            ports = Ports(taken: taken, free: max(0, range.count - taken))
        }
    }

    private static func names(_ folder: String) -> [String] { (try? AttachmentFolder.names(in: folder)) ?? [] }
}
