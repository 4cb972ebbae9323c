import Addressing
import Glibc
import Linux
import TestSupport
import Testing

@testable import CNI

@Suite struct ReconcilerTests {
    private let folder: ScratchFolder
    private let location: StoreLocation
    private let now: Int64 = 1_700_000_000

    init() throws {
        folder = try ScratchFolder()
        location = StoreLocation(dataDir: folder.path, network: "mesh")
    }

    private func record(_ id: String, _ host: Int, netns: String = "/gone", age: Int64 = 3600) -> AttachmentRecord {
        AttachmentRecord(
            network: "mesh", holder: Store.Holder(containerID: id, ifName: "eth0"),
            netns: AttachmentRecord.Netns(path: netns, inode: 7, device: 4), interface: "warren0", ownerUid: 64738,
            addresses: [IPPrefix("10.9.7.\(host)/32")!], created: now - age)
    }

    private var reconciler: Reconciler {
        Reconciler(dataDir: folder.path) { netns in
            switch netns.path {
            case "/gone": .gone
            case "/unknown": .unknown
            default: .alive
            }
        }
    }

    private var reserved: [String] { folder.names("networks/mesh").filter { $0 != "lock" } }

    @Test func `only what is gone and old is freed`() throws {
        let records = [
            record("gone", 1), record("alive", 2, netns: "/alive"), record("unknown", 3, netns: "/unknown"),
            record("young", 4, age: 19), record("old", 5, age: 20), record("future", 6, age: -3600),
        ]
        do {
            let store = try Store(creating: location)
            for record in records { try store.attach(record) }
        }
        let report = reconciler.run(now: now)
        #expect(Set(report.attachments.map(\.holder.containerID)) == ["gone", "old", "future"])
        #expect(report.strays == [] && report.faults == [])
        #expect(folder.names("attachments/mesh") == ["alive:eth0", "unknown:eth0", "young:eth0"])
        #expect(reserved == ["10.9.7.2", "10.9.7.3", "10.9.7.4"])
        #expect(reconciler.run(now: now).isEmpty)
    }

    @Test func `a reservation without an attachment goes when it is old`() throws {
        do {
            let store = try Store(creating: location)
            try store.attach(record("alive", 2, netns: "/alive"))
            try store.reserve([IPAddress("10.9.7.9")!], for: Store.Holder(containerID: "none", ifName: "eth0"))
            // Its holder has a record, which does not know the address.
            try store.reserve([IPAddress("10.9.7.8")!], for: Store.Holder(containerID: "alive", ifName: "eth0"))
            // An unreadable record may know it.
            try store.reserve([IPAddress("10.9.7.7")!], for: Store.Holder(containerID: "broken", ifName: "eth0"))
        }
        try folder.write("{", to: "attachments/mesh/broken:eth0")
        try folder.write("", to: "networks/mesh/10.9.7.6")
        let clock = Int64(time(nil))
        #expect(reconciler.run(now: clock).isEmpty)
        let report = reconciler.run(now: clock + Reconciler.grace)
        #expect(report.strays == ["10.9.7.6", "10.9.7.8", "10.9.7.9"].map { IPAddress($0)! })
        #expect(reserved == ["10.9.7.2", "10.9.7.7"])
        #expect(folder.names("attachments/mesh") == ["alive:eth0", "broken:eth0"])
    }

    @Test func `an attachment made anew between looking and locking is left alone`() throws {
        let (old, new) = (record("a", 1), record("a", 2))
        let location = location
        do { try Store(creating: location).attach(old) }
        let racing = Reconciler(dataDir: folder.path) { _ in
            // DEL and ADD, just after the reconciler took the first for gone; its own lock comes later.
            if let store = try? Store(existing: location), (try? store.record(of: old.holder)) == old {
                _ = try? store.detach(old.holder)
                try? store.attach(new)
            }
            return .gone
        }
        #expect(racing.run(now: now).attachments == [])
        #expect(folder.names("attachments/mesh") == ["a:eth0"])
        #expect(reserved == ["10.9.7.2"])
    }

    @Test func `networks are told apart, and nothing at all is no fault`() throws {
        #expect(reconciler.run(now: now).isEmpty)
        let other = StoreLocation(dataDir: folder.path, network: "other")
        do { try Store(creating: other).attach(record("a", 1)) }
        do { try Store(creating: location).attach(record("a", 1)) }
        // In the folder of a network that the record does not name: not believed, so not freed.
        #expect(reconciler.run(now: now).attachments.map(\.network) == ["mesh"])
        #expect(folder.names("attachments/other") == ["a:eth0"])
    }

    @Test func `a namespace is alive where its path leads to it`() throws {
        let pod = try ScratchNamespace()
        let identity = try pod.namespace.identity()
        func liveness(_ path: String, inode: UInt64? = nil, root: String = "") -> Reconciler.Liveness {
            Reconciler.liveness(
                of: AttachmentRecord.Netns(path: path, inode: inode ?? identity.inode, device: identity.device),
                root: root)
        }
        #expect(liveness(pod.path) == .alive)
        #expect(liveness(pod.path, root: "/proc/self/root") == .alive)
        #expect(liveness(pod.path, inode: identity.inode ^ 1) == .gone)
        #expect(liveness("/proc/self/ns/net") == .gone)
        #expect(liveness("/proc/4194304/ns/net") == .gone)  // above the greatest process id
        #expect(liveness("\(folder.path)/none") == .gone)
        // A mount point whose mount can't be seen, and a folder that can't be seen, prove nothing.
        try folder.write("", to: "plain")
        #expect(liveness("\(folder.path)/plain") == .unknown)
        #expect(liveness("\(folder.path)/none/none") == .unknown)
        #expect(liveness("/proc/4194304/ns/net", root: folder.path) == .unknown)
    }
}
