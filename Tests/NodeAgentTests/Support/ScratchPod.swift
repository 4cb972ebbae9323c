import CLinux
import CNI
import Glibc
import Linux
import Netlink

/// A pod as a runtime leaves one: a process that holds the namespaces open, and a path that leads to its network namespace.
final class ScratchPod {
    let holder: Program
    /// The uid 0 of its user namespace as the host sees it; 0 without one.
    let base: UInt32

    /// - Parameter base: for a user namespace of 65536 uids from this one on; nil for none.
    init(mappedFrom base: UInt32? = nil) throws {
        guard geteuid() == 0 else { throw SystemError("this test makes namespaces: run it as root", .notPermitted) }
        let user = base == nil ? [] : ["--user"]
        holder = try Program(
            ["unshare", "--net"] + user + ["sh", "-c", "echo ready; read line; ip link set lo up; echo up; read line"])
        guard try holder.line() == "ready" else { throw Program.Failure(description: "no namespace") }
        self.base = base ?? 0
        if let base {
            for map in ["uid_map", "gid_map"] {
                try FileDescriptor(open: "/proc/\(holder.pid)/\(map)", O_WRONLY).writeAll(Array("0 \(base) 65536".utf8))
            }
        }
        try holder.write("go\n")
        _ = try holder.line()
    }

    var path: String { "/proc/\(holder.pid)/ns/net" }

    func namespace() throws -> NetworkNamespace { try NetworkNamespace(path: path) }

    func run<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) throws -> Value {
        try namespace().run(body)
    }

    /// `warren0` as the plugin makes it, with an address and the traffic of nobody.
    func makeTun(_ name: String = "warren0", owner: UInt32 = 64738) throws {
        let owner = base + owner
        try run {
            try PersistentTun(creating: name, owner: owner).persist()
            var socket = try RouteSocket()
            guard let link = try socket.link(named: name) else { throw SystemError("find \(name)", .noDevice) }
            try socket.disableLinkLocalAddress(on: link)
            try socket.setUp(link)
        }
        try Program.run("nsenter --net=\(path) ip address add 10.9.7.1/24 dev \(name)")
    }

    func record(_ container: String = "abc", owner: UInt32 = 64738, uid: String? = nil) throws -> AttachmentRecord {
        let identity = try namespace().identity()
        return AttachmentRecord(
            network: "pods", holder: Store.Holder(containerID: container, ifName: "eth0"),
            netns: AttachmentRecord.Netns(path: path, inode: identity.inode, device: identity.device),
            interface: "warren0", ownerUid: base + owner, addresses: [],
            pod: uid.map { AttachmentRecord.Pod(namespace: "default", name: "a", uid: $0) }, created: 0)
    }

    /// Starts the sidecar's first step in the pod, as `uid` and with no capability.
    ///
    /// - Parameter before: shell commands that the process runs before, as root.
    func probe(uid: UInt32 = 64738, before: String = "true") throws -> Program {
        let user = base == 0 ? "" : "--user "
        let program = try Program.path("warren-tunprobe")
        let drop =
            "setpriv --reuid=\(uid) --regid=\(uid) --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs"
        return try Program([
            "sh", "-c", "\(before) && exec nsenter --target \(holder.pid) --net \(user)\(drop) \(program) warren0",
        ])
    }

    /// Sends a packet that is routed to `warren0`.
    func sendPacket() throws {
        try run {
            let raw = socket(AF_INET, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
            let descriptor = FileDescriptor(owning: try check("socket") { raw })
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = UInt16(9).bigEndian
            address.sin_addr.s_addr = UInt32(0x0a09_0702).bigEndian
            let size = socklen_t(MemoryLayout<sockaddr_in>.size)
            let sent = unsafe withUnsafePointer(to: &address) {
                unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    unsafe sendto(descriptor.raw, "hello", 5, 0, $0, size)
                }
            }
            guard sent == 5 else { throw SystemError("send a packet", .current) }
        }
    }
}
