import Glibc
import Hub

// Signals come first, so that every thread leaves them to the one that waits. And this thread never becomes the
// concurrency runtime's main thread, which waits in sigsuspend(2) with nothing blocked and would die of SIGTERM.
let isServing = CommandLine.arguments.dropFirst().first.map { ["serve", "relay"].contains($0) } ?? false
let shutdown = isServing ? try? ShutdownSignal() : nil
Task { @concurrent in
    await WarrenHub.start(shutdown)
    exit(0)
}
while true { pause() }
