import Foundation
import Lab
import Testing

extension EndToEnd {
    /// What the sidecars and the hub are allowed to do.
    @Suite struct Privileges {
        @Test func `every thread of each program has a reserved uid, no capability and no way to one`() throws {
            try withPair { mesh, a, b in
                let hub = try #require(mesh.hub)
                for process in [try mesh.sidecar(of: a), try mesh.sidecar(of: b), hub] {
                    let threads = names(in: "/proc/\(process.pid)/task").compactMap { Int32($0) }
                    #expect(threads.contains(process.pid))
                    for thread in threads {
                        let privilege = try Privilege(of: thread)
                        #expect(privilege.isNone, "\(privilege)")
                        #expect(privilege.capabilities == 0)
                    }
                }
                figure("sidecar of pod-a", "\(try Privilege(of: try mesh.sidecar(of: a).pid))")
            }
        }

        @Test func `another uid can take neither the interface nor the keys`() throws {
            try withPair { mesh, a, _ in
                let state = try a.run("stat", "-c", "%a %u", Pod.stateFolder)
                #expect(state == "700 \(Plan.sidecarUID)\n")
                let other = Plan.unprivileged(uid: 1000)
                let keys = try a.result(of: other + ["ls", Pod.stateFolder])
                #expect(keys.status != 0)
                let memory = try a.result(of: other + ["cat", "/proc/\(try mesh.sidecar(of: a).pid)/environ"])
                #expect(memory.status != 0)
                try mesh.killSidecar(a)
                let attach = """
                    import fcntl, os, struct
                    tun = os.open("/dev/net/tun", os.O_RDWR)
                    fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", b"\(Plan.interface)", 0x5001))
                    """
                let theft = try a.result(of: other + ["/usr/bin/python3", "-c", attach])
                #expect(theft.standardError.contains("Operation not permitted"))
                let owner = Plan.unprivileged(uid: Plan.sidecarUID)
                let own = try a.result(of: owner + ["/usr/bin/python3", "-c", attach])
                #expect(own.status == 0, "the control: the owner may, \(own.standardError)")
            }
        }
    }
}
