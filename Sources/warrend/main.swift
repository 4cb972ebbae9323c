import Glibc
import Linux

let overview = """
    Private encrypted addresses for agents: the sidecar, and a drop-in userspace WireGuard.

    usage: warrend sidecar [OPTION]…
           warrend wireguard [--foreground] <interface>

    `warrend sidecar --help` and `warrend wireguard --help` say more.
    """

Heap.configure()

do throws(Arguments.Failure) {
    let words = CommandLine.arguments.dropFirst()
    switch words.first {
    case "sidecar":
        let arguments = try Arguments(words.dropFirst(), of: SidecarCommand.usage)
        guard !arguments.asksForHelp else {
            print(SidecarCommand.usage.text)
            break
        }
        let (configuration, level) = try SidecarCommand.configuration(arguments)
        // Blocked before any other thread is there, so that all leave the signals to the one that waits for them. And
        // this thread never becomes the concurrency runtime's main thread, which waits with nothing blocked.
        SignalFD.block([SIGTERM, SIGINT])
        Task { @concurrent in exit(await SidecarCommand.run(configuration, level)) }
        while true { pause() }
    case "wireguard":
        let arguments = try Arguments(words.dropFirst(), of: WireGuardCommand.usage)
        guard !arguments.asksForHelp else {
            print(WireGuardCommand.usage.text)
            break
        }
        exit(WireGuardCommand.run(arguments))
    case nil, "help", "-h", "--help":
        print(overview)
    case let word?:
        throw Arguments.Failure(text: "\(word): no such command", usage: "warrend sidecar|wireguard …")
    }
} catch {
    writeErrorLine("warrend: \(error.text)\nusage: \(error.usage)")
    exit(EX_USAGE)
}
