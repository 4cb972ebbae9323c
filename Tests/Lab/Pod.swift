import Glibc

/// What a container runtime makes of a pod: a network namespace behind a site's router, and mounts of its own.
///
/// In those mounts: a `/dev/net/tun` that everyone may open (as a runtime's `devices` entry gives it), an `/etc/hosts`
/// of its own, a fresh `/run`, and in it the sidecar's program, its token and its 0700 folder in memory.
package final class Pod: Place {
    package let sandbox: Sandbox
    package let name: String
    package let namespace: Namespace
    package let site: Plan.Site
    package let address: String
    /// Random, as runtimes choose it.
    package let containerID: String
    private let pause: ChildProcess
    private let folder: String

    package static let programs = "/run/warren/bin"
    package static let stateFolder = "/run/warren/state"
    package static let controlSocket = "/run/warren/control/control.sock"
    package static let tokenFile = "/run/warren/token"

    /// Makes the pod, running: its first process only waits, as Kubernetes' pause container does.
    package init(_ name: String, site: Plan.Site, host: Int, image: Image, underlay: Underlay) throws {
        sandbox = underlay.sandbox
        self.name = name
        self.site = site
        address = site.pod(host)
        containerID = (0..<4).map { _ in
            let digits = String(UInt64.random(in: .min ... .max), radix: 16)
            return String(repeating: "0", count: 16 - digits.count) + digits
        }.joined()
        namespace = try sandbox.namespace(name)
        folder = sandbox.path(name)
        try makeFolder(folder)
        try writeText("127.0.0.1 localhost\n::1 localhost\n\(address) \(name)-host\n", to: "\(folder)/hosts")
        try writeText("", to: "\(folder)/resolv.conf")
        try underlay.attach(namespace, to: site, host: host)
        pause = try namespace.spawn(["sh", "-eu", "-c", Self.mounts, "pod", folder, image.folder])
        try waitUntil("mounts of \(name)", timeout: 5) { [pause, folder] in
            if !pause.isRunning { throw LabError.ended("first process of \(name)", text: pause.standardError) }
            return fileExists("\(folder)/mounted")
        }
    }

    package var enter: [String] { ["nsenter", "--target", "\(pause.pid)", "--net", "--mount", "--"] }

    /// As `enter`, with the sidecar's uid, no capability and no way to get one.
    package var enterUnprivileged: [String] { enter + Plan.unprivileged(uid: Plan.sidecarUID) }

    /// The sidecar's control socket, as this process reaches it.
    package var controlPath: String { "/proc/\(pause.pid)/root\(Self.controlSocket)" }

    /// Adds lines to the pod's `/etc/hosts`.
    package func addHosts(_ lines: String) throws {
        let path = "\(folder)/hosts"
        let file = unsafe open(path, O_WRONLY | O_APPEND | O_CLOEXEC)
        guard file >= 0 else { throw LabError.system("open \(path)", errno: errno) }
        defer { close(file) }
        let bytes = Array((lines.hasSuffix("\n") ? lines : lines + "\n").utf8)
        guard unsafe write(file, bytes, bytes.count) == bytes.count else {
            throw LabError.system("write \(path)", errno: errno)
        }
    }

    /// Writes the pod's `/etc/resolv.conf`.
    package func setResolvConf(_ text: String) throws {
        try sandbox.output(of: enter + ["sh", "-eu", "-c", "cat > /etc/resolv.conf"], input: text + "\n")
    }

    /// Puts the join token where the sidecar reads it, as a mounted Secret.
    package func setToken(_ token: String) throws {
        try run(
            "sh", "-eu", "-c", "umask 077; cat > \(Self.tokenFile); chown \(Plan.sidecarUID) \(Self.tokenFile)",
            input: token)
    }

    /// Runs in the pod's mount namespace before anything else; `$1` is the pod's folder, `$2` the image's.
    /// `ip netns exec` has made the mount namespace already; from here nothing propagates out of it.
    private static let mounts = """
        mount --make-rprivate /
        mount -t tmpfs -o mode=755 tmpfs /run
        mkdir -p /run/warren/bin /run/warren/state /run/warren/control /run/sshd
        mount --bind "$2" /run/warren/bin
        mount -t tmpfs -o mode=700,uid=\(Plan.sidecarUID),gid=\(Plan.sidecarUID),size=1m tmpfs /run/warren/state
        chown \(Plan.sidecarUID):\(Plan.sidecarUID) /run/warren/control
        mkdir -p /dev/net
        mount -t tmpfs -o mode=755 tmpfs /dev/net
        mknod -m 666 /dev/net/tun c 10 200
        mount --bind "$1/hosts" /etc/hosts
        mount --bind "$1/resolv.conf" /etc/resolv.conf
        touch "$1/mounted"
        exec sleep infinity
        """
}
