import ArgumentParser

/// The tunnel's program: a pod's sidecar, or a userspace WireGuard interface.
struct Warrend: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "warrend",
        abstract: "Private encrypted addresses for agents: the sidecar, and a drop-in userspace WireGuard.",
        subcommands: [SidecarCommand.self, WireGuardCommand.self])
}
