import ArgumentParser
import Linux
import Tunnel

/// `warrend wireguard IFNAME`: what `wireguard-go IFNAME` does, with the same sockets, environment and signals.
struct WireGuardCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "wireguard",
        abstract:
            "Create a WireGuard interface in userspace, for wg(8) to configure; goes to the background once it is up.")

    @Flag(name: [.customShort("f"), .long], help: "Stay in the foreground.") var foreground = false
    @Argument(help: "The interface's name.") var interface: String

    func run() throws {
        do {
            try WireGuardInterface.run(named: interface, foreground: foreground)
        } catch {
            writeErrorLine("warrend wireguard \(interface): \(error)")
            throw ExitCode(1)
        }
    }
}
