import ArgumentParser
import Glibc
import Linux

do {
    var command = try Warrend.parseAsRoot()
    if let command = command as? SidecarCommand {
        // Blocked before any other thread is there, so that all leave the signals to the one that waits for them. And
        // this thread never becomes the concurrency runtime's main thread, which waits with nothing blocked.
        SignalFD.block([SIGTERM, SIGINT])
        Task { @concurrent in
            do { try await command.run() } catch { Warrend.exit(withError: error) }
            exit(0)
        }
        while true { pause() }
    }
    try command.run()
} catch { Warrend.exit(withError: error) }
