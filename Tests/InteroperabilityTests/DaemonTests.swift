import Glibc
import Lab
import Testing

extension Interoperability {
    /// `warrend wireguard` as a program: what scripts that start wireguard-go rely on.
    @Suite struct Daemon {
        private func withEnd(_ body: (Cable, End) throws -> Void) throws {
            try withCable { cable in try body(cable, try End(.ours, at: cable.a, number: 1)) }
        }

        private func waitForEnd(_ end: End) throws -> Double {
            try waitUntil("the process and its socket are gone", timeout: 5) {
                end.processes.isEmpty && !fileExists(end.socketPath)
            }
        }

        @Test func `it returns 0 once the interface is up, and stays in the background`() throws {
            try withEnd { cable, end in
                let output = try end.home.result(of: try end.command(), timeout: 10)
                #expect(output.status == 0 && output.text.isEmpty)
                figure("in the background after", "\(Int(output.seconds * 1000)) ms")
                // At once: a script goes on with the next line.
                #expect(try end.status().peers.isEmpty)
                try end.home.run("ip", "link", "show", end.interface)
                let process = try #require(end.processes.first)
                #expect(end.processes.count == 1)
                #expect(readText("/proc/\(process)/comm") == "warrend\n")
                #expect(getsid(process) == process, "a session of its own, so that no terminal ends it")
                var status = stat()
                #expect(unsafe stat(end.socketPath, &status) == 0)
                #expect(status.st_mode & S_IFMT == S_IFSOCK && status.st_mode & 0o7777 == 0o600 && status.st_uid == 0)
            }
        }

        @Test func `with -f it stays in front, and ends with 0 on SIGTERM and SIGINT`() throws {
            try withEnd { cable, end in
                for number in [SIGTERM, SIGINT] {
                    let process = try end.home.spawn(try end.command(foreground: true))
                    try waitUntil("the socket is served", timeout: 5) { try end.status().listenPort > 0 }
                    usleep(100_000)
                    #expect(process.isRunning)
                    process.signal(number)
                    #expect(try process.wait(timeout: 5) == 0)
                    #expect(!fileExists(end.socketPath))
                    #expect(try !end.home.result(of: ["ip", "link", "show", end.interface]).succeeded)
                }
            }
        }

        @Test func `SIGTERM, a deleted interface and a removed socket each end it and leave nothing`() throws {
            try withEnd { cable, end in
                let endings: [(String, () throws -> Void)] = [
                    ("SIGTERM", { for process in end.processes { kill(process, SIGTERM) } }),
                    ("ip link del", { try end.home.run("ip", "link", "del", end.interface) }),
                    ("rm of the socket", { removeFile(end.socketPath) }),
                ]
                for (what, action) in endings {
                    try end.start()
                    #expect(end.processes.count == 1)
                    try action()
                    figure("gone after \(what)", "\(Int(try waitForEnd(end) * 1000)) ms")
                    #expect(try !end.home.result(of: ["ip", "link", "show", end.interface]).succeeded)
                }
                try end.start()
            }
        }

        @Test func `a kill -9 does not keep the next one from starting`() throws {
            try withEnd { cable, end in
                try end.start()
                for process in end.processes { kill(process, SIGKILL) }
                try waitUntil("it is dead", timeout: 5) {
                    try end.processes.isEmpty && !end.home.result(of: ["ip", "link", "show", end.interface]).succeeded
                }
                #expect(fileExists(end.socketPath))
                try end.start()
                #expect(try end.status().listenPort > 0)
            }
        }

        @Test func `a bad or taken name and missing privilege are one clear line at the prompt`() throws {
            try withEnd { cable, end in
                try end.start()
                let program = try #require(try end.command().first)
                let dropped = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-all"]
                let nobody = ["setpriv", "--reuid=65534", "--clear-groups"]
                let cases: [(prefix: [String], name: String, text: String)] = [
                    ([], end.interface, "exists"), ([], Cable.link, "exists"), ([], "lo", "exists"),
                    ([], "a-name-of-too-many", "not an interface name"), ([], "a/b", "not an interface name"),
                    ([], "..", "not an interface name"), ([], "", "not an interface name"),
                    ([], "wi%d", "not an interface name"), ([], "a b", "not an interface name"),
                    (dropped, "\(end.interface)x", "CAP_NET_ADMIN"), (nobody, "\(end.interface)x", "/dev/net/tun"),
                ]
                let links = try end.home.run("ip", "-br", "link")
                for (prefix, name, text) in cases {
                    for option in [[], ["-f"]] {
                        let output = try end.home.result(of: prefix + [program, "wireguard"] + option + [name])
                        let isDenied = prefix == nobody && !output.standardError.contains("wireguard")
                        if isDenied { continue }  // The build folder is closed to other users.
                        #expect(output.status == 1, "\(name)")
                        #expect(output.standardOutput.isEmpty)
                        #expect(output.standardError.contains(text), "\(name): \(output.standardError)")
                        #expect(output.standardError.split(separator: "\n").count == 1, "\(output.standardError)")
                        #expect(!fileExists("/var/run/wireguard/\(end.interface)x.sock"))
                    }
                }
                let after = try end.home.run("ip", "-br", "link")
                #expect(after == links)
                // Another namespace has room for the name, but its socket is served already.
                let elsewhere = try cable.b.namespace.result(of: try end.command())
                #expect(elsewhere.status == 1 && elsewhere.standardError.contains("EADDRINUSE"))
                #expect(try !cable.b.namespace.result(of: ["ip", "link", "show", end.interface]).succeeded)
                #expect(try end.status().listenPort > 0, "the one that runs is not disturbed")
            }
        }

        @Test func `a moved interface works on, with its sockets where they were born`() throws {
            try withPair { cable, ours, other in
                let inside = try cable.sandbox.namespace("inside")
                try ours.setUp(port: 1001)
                try other.setUp(port: 1002)
                try other.add(ours)
                try ours.add(other, endpoint: cable.b.endpoint(1002))
                try ours.reach(other)
                try ours.move(to: inside)
                try ours.reach(other)
                #expect(try ours.lost(to: other.ipv6) == [])
                #expect(try other.lost(to: ours.ipv4) == [])
                #expect(try cable.a.namespace.run("ss", "-Hlun", "sport = :1001").split(separator: "\n").count == 2)
                #expect(try inside.run("ss", "-Hlun").isEmpty, "no socket is in the interface's namespace")
                // A new port is bound where the old one was.
                try ours.set("listen-port", "1003")
                #expect(try !cable.a.namespace.run("ss", "-Hlun", "sport = :1003").isEmpty)
                try ours.reach(other)
                try inside.run("ip", "link", "del", ours.interface)
                _ = try waitForEnd(ours)
            }
        }
    }
}
