import CLinux
import Glibc
import Linux

/// Runs `body` on a thread in a network namespace of its own, which ends with it; only the loopback interface is in it.
func inIsolatedNetwork(_ loopback: String, _ body: @escaping @Sendable () throws -> Void) throws {
    guard geteuid() == 0 else { throw SystemError("this test must run as root: unshare a network namespace", .notPermitted) }
    try Thread.run(named: "warren-test") {
        _ = try check("unshare a network namespace") { CLinux_unshare(CLinux_CLONE_NEWNET) }
        // A child process is made in the calling thread's namespace.
        try run("ip link set lo up \(loopback)")
        try body()
    }
}

/// Runs a command whose words are separated by single spaces.
func run(_ command: String) throws {
    let words = command.split(separator: " ").map(String.init)
    var arguments = unsafe words.map { unsafe strdup($0) } + [nil]
    defer { unsafe arguments.forEach { unsafe free($0) } }
    var pid: pid_t = 0
    let code = unsafe posix_spawnp(&pid, words[0], nil, nil, &arguments, environ)
    var status: Int32 = 0
    guard code == 0, unsafe waitpid(pid, &status, 0) == pid, status == 0 else {
        throw SystemError("\(command) (status \(status))", Errno(code))
    }
}
