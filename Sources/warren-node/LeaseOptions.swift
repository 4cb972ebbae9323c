import ArgumentParser
import BlockLeasing
import Directory
import Glibc
import Membership
import Sodium

/// How the node gets its block of addresses from the hub.
struct LeaseOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "A file with a node's join token (warren-hub token create --node): lease number and block from its hub.",
            valueName: "file"))
    var tokenFile: String?
    @Option(
        help: ArgumentHelp(
            "In place of a join token: a token of this pod's service account, for the hub's audience.",
            valueName: "file"))
    var serviceAccountToken: String?
    @Option(
        help: ArgumentHelp(
            "With it: a file with the hub's public text (warren-hub advertise --public).", valueName: "file"))
    var hubFile: String?
    @Option(help: ArgumentHelp("The node's name, for the hub; by default the host's.", valueName: "name"))
    var nodeName: String?
    @Option(
        help: ArgumentHelp(
            "Where identity key and lease are kept, mode 0700: best on the host's disk, to be the same node after a reboot.",
            valueName: "folder"))
    var leaseDir = "/var/lib/warren/node"

    /// Whether the hub is to give the block.
    var isLeased: Bool { tokenFile != nil || serviceAccountToken != nil }

    mutating func validate() throws {
        guard leaseDir.hasPrefix("/") else { throw ValidationError("--lease-dir \(leaseDir): not an absolute path") }
        if let nodeName, !AgentName.isValid(nodeName) { throw Self.invalid(nodeName) }
        guard serviceAccountToken == nil || tokenFile == nil else {
            throw ValidationError("--service-account-token: not together with --token-file")
        }
        guard (serviceAccountToken == nil) == (hubFile == nil) else {
            throw ValidationError("--service-account-token and --hub-file: one is of no use without the other")
        }
        if tokenFile?.isEmpty == true { throw ValidationError("--token-file: no file is named") }
    }

    /// Nil where no lease is asked for.
    func keeper(log: @escaping @Sendable (String) -> Void) throws -> LeaseKeeper? {
        guard let authority = try authority() else { return nil }
        let name = nodeName ?? Self.hostName()
        guard AgentName.isValid(name) else { throw Self.invalid(name) }
        try Libsodium.initialize()
        return try LeaseKeeper(LeaseFolder(path: leaseDir), authority, node: name, log: log)
    }

    /// What the node proves to the hub that it may have a block.
    private func authority() throws -> (any BlockAuthority)? {
        if let serviceAccountToken, let hubFile {
            return AccountAuthority(
                tokenFile: serviceAccountToken, hubFile: hubFile, proxies: try ProxyRules.inEnvironment())
        }
        guard let tokenFile else { return nil }
        return TokenAuthority(file: tokenFile, proxies: try ProxyRules.inEnvironment())
    }

    private static func invalid(_ name: String) -> ValidationError {
        ValidationError("--node-name \(name): use lower-case letters, digits, '-' and '.', at most 63")
    }

    private static func hostName() -> String {
        var bytes = [CChar](repeating: 0, count: 256)
        guard unsafe gethostname(&bytes, bytes.count - 1) == 0 else { return "" }
        return String(decoding: bytes.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self).lowercased()
    }
}
