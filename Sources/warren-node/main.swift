import ArgumentParser
import Glibc
import Linux

// First of all, so that every thread leaves these signals to the one that waits for them.
SignalFD.block([SIGTERM, SIGINT])
_ = signal(SIGPIPE, SIG_IGN)
WarrenNode.main()
