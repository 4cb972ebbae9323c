import Glibc

// Signals come first, so that every thread leaves them to the one that waits. And this thread never becomes the
// concurrency runtime's main thread, which waits in sigsuspend(2) with nothing blocked and would die of SIGTERM.
let termination = try? Termination()
Task { @concurrent in
    await WarrenInjector.start(termination)
    exit(0)
}
while true { pause() }
