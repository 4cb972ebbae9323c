import Addressing
import ArgumentParser
import Hub
import Membership
import Sodium
import Timing

/// `warren-hub lease-list`: who holds what.
struct Leases: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lease-list", abstract: "List the names and addresses that agents hold.", aliases: ["leave-list"])

    @OptionGroup var folder: FolderOption

    mutating func run() async throws {
        try Libsodium.initialize()
        let now = WallTime.now()
        print(row("NAME", "EXPIRES", "AGENT", "ADDRESSES"))
        for lease in try await LeaseBook(store: folder.open().openStore()).list() where lease.isLive(at: now) {
            let addresses = lease.addresses.map(\.description).joined(separator: ",")
            print(row(lease.name, remaining(lease.expires, now), "\(lease.id)  ", addresses))
        }
    }
}

/// `warren-hub release`: frees a name or address whose holder is gone for good.
struct Release: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Free a name or address: its agent can't renew, and is not found any more.")

    @OptionGroup var folder: FolderOption
    @Argument(help: "An agent's name or virtual address.")
    var nameOrAddress: String

    mutating func run() async throws {
        try Libsodium.initialize()
        let store = try folder.open().openStore()
        guard let lease = try await LeaseBook(store: store).release(nameOrAddress) else {
            throw HubError.notFound("nobody holds \(nameOrAddress): see `warren-hub lease-list`")
        }
        try await RecordBook(store: store).remove(lease.id)
        print("released \(lease.name) \(lease.addresses.map(\.description).joined(separator: " "))")
    }
}

/// `warren-hub node-list`: which node has which block.
struct Nodes: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "node-list", abstract: "List the address blocks that nodes hold.")

    @OptionGroup var folder: FolderOption

    mutating func run() async throws {
        try Libsodium.initialize()
        let hub = try folder.open()
        let now = WallTime.now()
        let plan = BlockPlan(ranges: hub.configuration.ranges)
        print(row("NODE", "NUMBER", "EXPIRES", "BLOCKS"))
        for lease in try await NodeBook(store: hub.openStore()).list() where lease.isLive(at: now) {
            let block = plan?.block(lease.number)
            let blocks = [block?.ipv6, block?.ipv4].compactMap { $0?.description }.joined(separator: ",")
            print(row(lease.name, "\(lease.number)", remaining(lease.expires, now), blocks))
        }
    }
}

/// `warren-hub release-node`: frees the block of a node that is gone for good.
struct ReleaseNode: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "release-node", abstract: "Free the address block of a node that will not come back.")

    @OptionGroup var folder: FolderOption
    @Argument(help: "The node's name, as `node-list` shows it.")
    var name: String

    mutating func run() async throws {
        try Libsodium.initialize()
        guard let lease = try await NodeBook(store: folder.open().openStore()).release(name) else {
            throw HubError.notFound("no node \(name) has a block: see `warren-hub node-list`")
        }
        print("released block \(lease.number) of \(lease.name)")
    }
}

/// `warren-hub health`: for probes.
struct Health: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Ask the hub on this machine whether it serves.")

    @OptionGroup var folder: FolderOption
    @Option(help: ArgumentHelp("Where it listens.", valueName: "host:port"))
    var address = "127.0.0.1:7443"

    mutating func run() async throws {
        guard let address = HubAddress(address) else {
            throw HubError.option("--address \(address): HOST:PORT is needed")
        }
        try Libsodium.initialize()
        print(try await HealthCheck.ask(address, pin: folder.open().pin))
    }
}
