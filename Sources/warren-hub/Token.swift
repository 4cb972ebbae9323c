import Addressing
import ArgumentParser
import Hub
import Membership
import Sodium
import Timing

/// `warren-hub token`: join tokens, while `serve` runs or not.
struct Token: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make, list and revoke join tokens.", subcommands: [Create.self, List.self, Revoke.self])

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Make a join token; only the token goes to stdout.")

        @OptionGroup var folder: FolderOption
        @Option(help: ArgumentHelp("The names it allows: * for any characters, ? for one.", valueName: "pattern"))
        var name = "*"
        @Option(
            help: ArgumentHelp("Addresses it allows (again for more); all of the mesh's if none.", valueName: "cidr"))
        var range: [String] = []
        @Option(
            help: ArgumentHelp(
                "A group that its agents are members of (again for more, at most \(GroupName.limit)), as web.default.",
                valueName: "group.namespace"))
        var group: [String] = []
        @Flag(help: "For warren-node, which leases its node's address block with it, and for no agent.")
        var node = false
        @Option(help: "How many agents may join with it.")
        var uses: UInt64 = 1
        @Option(help: ArgumentHelp("How long it is valid: as 30m, 24h or 7d.", valueName: "duration"))
        var expires = "24h"

        mutating func run() async throws {
            guard let pattern = NamePattern(name) else {
                throw HubError.option(
                    "--name \(name): use lower-case letters, digits, '-', '.', '*' and '?', at most 127")
            }
            guard uses > 0 else { throw HubError.option("--uses 0: at least 1 is needed") }
            guard let seconds = Self.seconds(expires) else {
                throw HubError.option("--expires \(expires): a duration is needed, as 30m, 24h or 7d")
            }
            try Libsodium.initialize()
            let hub = try folder.open()
            guard !node || range.isEmpty else {
                throw HubError.option("--range: a node's addresses are in the block that it is given")
            }
            let ranges = try range.map { text in
                guard let range = IPPrefix(text), range.masked == range else {
                    throw HubError.option("--range \(text): a network is needed, as fd12:3456:789a:1::/64")
                }
                guard hub.configuration.ranges.contains(where: { $0.contains(range) }) else {
                    throw HubError.option("--range \(text): outside the mesh's \(hub.configuration.ranges)")
                }
                return range
            }
            let groups = try Set(group).sorted().map { text in
                guard !node, let group = GroupName(text) else {
                    throw HubError.option("--group \(text): an agent's group is needed, as web.default")
                }
                return group
            }
            guard groups.count <= GroupName.limit else {
                throw HubError.option("--group: an agent is in at most \(GroupName.limit) groups")
            }
            let secret = try await TokenBook(store: hub.openStore()).create(
                kind: node ? .node : .agent, pattern: pattern, ranges: ranges, groups: groups, uses: uses,
                expires: WallTime(seconds: WallTime.now().seconds + seconds))
            let token = JoinToken(try hub.reference(), secret: secret)
            print(token.exportText())
        }

        private static func seconds(_ text: String) -> Int64? {
            let units: [Character: Int64] = ["s": 1, "m": 60, "h": 3600, "d": 86400]
            guard let unit = text.last.flatMap({ units[$0] }), let count = Int64(text.dropLast()),
                (1...36500).contains(count)
            else { return nil }
            return count * unit
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List join tokens by the beginning of their hash.")

        @OptionGroup var folder: FolderOption

        mutating func run() async throws {
            try Libsodium.initialize()
            let now = WallTime.now()
            print(row("ID", "FOR", "USES LEFT", "EXPIRES", "NAME", "RANGES"))
            for grant in try await TokenBook(store: folder.open().openStore()).list() {
                let ranges = grant.ranges.map(\.description).joined(separator: ",")
                print(
                    row(
                        String(grant.hash.description.prefix(12)), grant.kind.rawValue, "\(grant.usesLeft)",
                        remaining(grant.expires, now),
                        grant.pattern.description, ranges.isEmpty ? "(the mesh's)" : ranges))
            }
        }
    }

    struct Revoke: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Revoke a join token. Agents that have joined with it stay members.")

        @OptionGroup var folder: FolderOption
        @Argument(help: "The token's id, as `token list` shows it.")
        var id: String

        mutating func run() async throws {
            try Libsodium.initialize()
            let grant = try await TokenBook(store: folder.open().openStore()).revoke(id)
            print("revoked \(grant.hash.description.prefix(12))")
        }
    }
}

/// Columns of a listing.
func row(_ first: String, _ columns: String...) -> String {
    ([first] + columns).map { $0 + String(repeating: " ", count: max(2, 16 - $0.count)) }.joined()
}

/// `in 3h12m`, or `expired`.
func remaining(_ expires: WallTime, _ now: WallTime) -> String {
    let seconds = expires.seconds - now.seconds
    if seconds <= 0 { return "expired" }
    return seconds >= 86400
        ? "in \(seconds / 86400)d\(seconds % 86400 / 3600)h" : "in \(seconds / 3600)h\(seconds % 3600 / 60)m"
}
