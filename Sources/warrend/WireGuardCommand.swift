import Linux
import Tunnel

/// `warrend wireguard IFNAME`: what `wireguard-go IFNAME` does, with the same sockets, environment and signals.
enum WireGuardCommand {
    static let usage = Arguments.Usage(
        command: "warrend wireguard",
        overview:
            "Create a WireGuard interface in userspace, for wg(8) to configure; goes to the background once it is up.",
        operands: [("interface", "The interface's name.")],
        options: [Arguments.Option("foreground", help: "Stay in the foreground.")])

    /// The exit status.
    static func run(_ arguments: Arguments) -> Int32 {
        let interface = arguments.operands[0]
        do {
            try WireGuardInterface.run(named: interface, foreground: arguments.isGiven("foreground"))
            return 0
        } catch {
            writeErrorLine("warrend wireguard \(interface): \(error)")
            return 1
        }
    }
}
