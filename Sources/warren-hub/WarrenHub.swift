import ArgumentParser
import Glibc
import Hub
import Kubernetes
import Logging

/// The hub of a mesh: `warren-hub init`, `token create`, `serve`, `relay`.
struct WarrenHub: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "warren-hub",
        abstract: "The rendezvous server of a Warren mesh: authority, directory, relay and STUN.",
        subcommands: [
            Init.self, Advertise.self, Serve.self, Relay.self, Token.self, Leases.self, Release.self, Nodes.self,
            ReleaseNode.self, Health.self,
        ])

    /// Parses and runs.
    ///
    /// - Parameter shutdown: for `serve` and `relay`, made while there was one thread.
    static func start(_ shutdown: ShutdownSignal?) async {
        do {
            var command = try parseAsRoot()
            if let serve = command as? Serve, let shutdown {
                try await serve.run(until: shutdown)
            } else if let relay = command as? Relay, let shutdown {
                try await relay.run(until: shutdown)
            } else if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
        } catch let error as HubError {
            fail("\(error)")
        } catch let error as StoreError {
            fail("store: \(error)")
        } catch let error as KubernetesError {
            fail("\(error)")
        } catch {
            exit(withError: error)
        }
    }

    private static func fail(_ text: String) -> Never {
        let line = "warren-hub: \(text)\n"
        _ = unsafe write(STDERR_FILENO, line, line.utf8.count)
        Glibc.exit(1)
    }
}

/// Where the hub's files are.
struct FolderOption: ParsableArguments {
    @Option(help: ArgumentHelp("The hub's folder.", valueName: "dir"))
    var dir = "/var/lib/warren-hub"
    @Option(
        help: ArgumentHelp(
            "Where its keys and hub.json are mounted, if they are not in its folder: nothing is written there.",
            valueName: "dir"))
    var keys: String?

    func open() throws -> HubFolder { try HubFolder(opening: dir, keys: keys) }
}
