import JSON
import TestSupport
import Testing

/// The command lines of all containers, asked of the programs as they are built.
@Suite struct CommandLineTests {
    private static let commands: [[String]] = {
        let containers = [Manifests.base, Manifests.relay, Manifests.composed, Manifests.monitoring]
            .flatMap(\.workloads).flatMap(\.containers)
        let commands = containers.compactMap { $0["command"]?.elements?.compactMap(\.text) }
        return Array(Set(commands)).sorted { $0.joined() < $1.joined() }
    }()

    private static func help(_ command: [String]) throws -> (status: Int32, text: String) {
        let words = command.dropFirst().prefix { !$0.hasPrefix("-") }
        let outcome = try Manifests.run([try Manifests.program(command[0])] + words + ["--help"])
        return (outcome.status, outcome.output + outcome.diagnostics)
    }

    @Test func `every program of ours in the base is asked`() {
        #expect(Set(Self.commands.compactMap(\.first)) == ["warren-hub", "warren-injector", "warren-node"])
    }

    @Test(arguments: commands)
    func `every command is one of our programs with options that it has`(_ command: [String]) throws {
        let help = try Self.help(command)
        #expect(help.status == 0, "\(command): \(help.text)")
        // The words of the usage: a name that only begins like an option is not that option.
        let known = Set(help.text.split { !($0.isLetter || $0.isNumber || $0 == "-") }.map(String.init))
        let options = command.filter { $0.hasPrefix("-") }
        #expect(!options.isEmpty)
        for option in options {
            let name = String(option.prefix { $0 != "=" })
            #expect(known.contains(name), "\(command.prefix(2)) has no \(name)")
        }
    }
}
