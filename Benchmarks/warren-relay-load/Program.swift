import ArgumentParser
import Glibc

/// What `make bench-relay` loads a relay with: real members on real sockets, with credentials of the hub's authority.
@main struct Program: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "warren-relay-load", abstract: "Load for a relay.", subcommands: [Flow.self, Flock.self])
}

/// Writes a line at once, though a pipe reads it.
func say(_ text: String) {
    let line = text + "\n"
    _ = unsafe write(STDOUT_FILENO, line, line.utf8.count)
}
