import CLinux
import Glibc
import Linux
import Tun

/// A network namespace that ends with its owner, in which TUN devices are made and sockets opened. Needs root.
final class TestNetwork: Sendable {
    let namespace: NetworkNamespace

    init() throws {
        guard geteuid() == 0 else {
            throw SystemError("this test must run as root: unshare a network namespace", .notPermitted)
        }
        // Held open by a descriptor and never named: nothing is left behind, however the test ends.
        let raw = try Thread.run(named: "warren-test") {
            _ = try check("unshare a network namespace") { CLinux_unshare(CLinux_CLONE_NEWNET) }
            try run("ip link set lo up")
            return try FileDescriptor(open: "/proc/thread-self/ns/net", O_RDONLY).release()
        }
        let descriptor = FileDescriptor(owning: raw)
        namespace = try NetworkNamespace(path: "/proc/self/fd/\(descriptor.raw)")
    }

    /// Runs a command inside; its words are separated by single spaces.
    func command(_ words: String) throws { try namespace.run { try run(words) } }

    /// A TUN of our own making, up, with `addresses`.
    func makeTun(_ name: String, addresses: [String], mtu: Int = 1400) throws -> TunBox {
        let box = try namespace.run { TunBox(try TunDevice.create(name)) }
        try command("ip link set \(name) mtu \(mtu) up")
        for address in addresses {
            try command("ip address add \(address) dev \(name)\(address.contains(":") ? " nodad" : "")")
        }
        return box
    }
}

/// A device that closures can share.
final class TunBox: Sendable {
    let device: TunDevice
    init(_ device: consuming TunDevice) { self.device = device }
}

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

func waitReadable(_ raw: Int32, milliseconds: Int32) -> Bool {
    var wait = pollfd(fd: raw, events: Int16(POLLIN), revents: 0)
    return unsafe poll(&wait, 1, milliseconds) > 0
}
