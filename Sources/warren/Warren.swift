import ArgumentParser
import Control
import Glibc

/// The person's tool: asks the sidecar on this machine or in this pod.
struct Warren: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "warren", abstract: "Ask the Warren sidecar of this pod.",
        subcommands: [
            Status.self, Peers.self, Netcheck.self, Ready.self, Live.self, Hosts.self, Whois.self, Leave.self,
            Inject.self,
        ])

    @Option(help: "The sidecar's local API socket.") var control = "/run/warren/control.sock"

    /// Parses the command line and runs.
    static func start() async {
        do {
            var command = try parseAsRoot()
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
        } catch { exit(withError: error) }
    }
}

/// What each subcommand needs: the socket, and one question.
protocol Question: ParsableCommand {
    var parent: Warren { get }
}

extension Question {
    /// The answer; ends the program with the sidecar's error when there is one.
    func ask(_ request: ControlRequest) throws -> ControlAnswer {
        let answer = try ControlClient(path: parent.control).ask(request)
        if let error = answer.error { throw ValidationError(error) }
        return answer
    }
}

extension Warren {
    struct Status: Question {
        static let configuration = CommandConfiguration(abstract: "Show this agent.")
        @OptionGroup var parent: Warren
        @Flag(help: "Print JSON.") var json = false

        func run() throws {
            guard let status = try ask(.status).status else { return }
            print(try json ? Rendering.json(status) : Rendering.page(status))
        }
    }

    struct Peers: Question {
        static let configuration = CommandConfiguration(abstract: "Show the peers this agent has talked to.")
        @OptionGroup var parent: Warren
        @Flag(help: "Print JSON.") var json = false

        func run() throws {
            let peers = try ask(.peers).peers ?? []
            print(try json ? Rendering.json(peers) : Rendering.table(peers))
        }
    }

    struct Ready: Question {
        static let configuration = CommandConfiguration(
            abstract: "Succeed when the sidecar is ready: for startup and readiness probes.")
        @OptionGroup var parent: Warren
        @Option(help: ArgumentHelp("How long to wait for it.", valueName: "seconds")) var wait: UInt16 = 0

        func run() throws {
            var triesLeft = Int(wait) * Self.triesPerSecond
            while true {
                do { return try runOnce() } catch {
                    guard triesLeft > 0 else { throw error }
                    triesLeft -= 1
                    usleep(1_000_000 / UInt32(Self.triesPerSecond))
                }
            }
        }

        private static let triesPerSecond = 5

        private func runOnce() throws {
            guard let status = try ask(.status).status else { return }
            guard status.ready else {
                let reason =
                    status.hub == "accepted" && status.waitingFor.isEmpty
                    ? "ending"
                    : status.hub == "accepted"
                        ? "waiting for the handshake of \(status.waitingFor.joined(separator: ", "))"
                        : "hub \(status.hub): \(status.hubDetail)"
                throw ValidationError("not ready: \(reason)")
            }
            print("ready")
        }
    }

    struct Live: Question {
        static let configuration = CommandConfiguration(
            abstract: "Fail when the sidecar has packets and does not move them: for liveness probes.")
        @OptionGroup var parent: Warren

        func run() throws {
            _ = try ask(.live)
            print("alive")
        }
    }

    struct Hosts: Question {
        static let configuration = CommandConfiguration(abstract: "Print /etc/hosts lines for agents, by name.")
        @OptionGroup var parent: Warren
        @Argument(help: "Names of agents.") var names: [String]

        func run() throws {
            for name in names {
                guard let identity = try ask(.resolve(name)).identity else { continue }
                for address in identity.addresses { print("\(address) \(identity.name)") }
            }
        }
    }

    struct Whois: Question {
        static let configuration = CommandConfiguration(abstract: "Show which agent holds a virtual address.")
        @OptionGroup var parent: Warren
        @Argument(help: "A virtual address.") var address: String
        @Flag(help: "Print JSON.") var json = false

        func run() throws {
            guard let identity = try ask(.whois(address)).identity else { return }
            print(
                try json
                    ? Rendering.json(identity)
                    : "\(identity.name)  \(identity.subject)  \(identity.addresses.joined(separator: " "))  id \(identity.id)"
            )
        }
    }

    struct Leave: Question {
        static let configuration = CommandConfiguration(
            abstract: "Give up this agent's name and addresses, and stop the sidecar.")
        @OptionGroup var parent: Warren

        func run() throws {
            _ = try ask(.leave)
            print("left")
        }
    }
}
