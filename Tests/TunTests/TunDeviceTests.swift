import CLinux
import Glibc
import Linux
import Testing
import Tun

/// With real devices, in network namespaces of their own: as root.
@Suite struct TunDeviceTests {
    @Test func `a device is created, has a name, an index and an MTU, and goes with its descriptor`() throws {
        let network = try TestNetwork()
        try network.namespace.run {
            do {
                let device = try TunDevice.create("warren-test0")
                #expect(device.name == "warren-test0")
                #expect(device.mtu == 1500)
                #expect((device.interfaceIndex ?? 0) > 1)
                try run("ip link set warren-test0 mtu 1380 name warren-test1")
                #expect(device.name == "warren-test1")
                #expect(device.mtu == 1380)
            }
            // A program that another test is starting just now may hold a copy of the descriptor until it runs.
            for _ in 0..<200 {
                do { _ = try TunDevice.attach("warren-test1") } catch TunError.held {
                    usleep(10_000)
                    continue
                } catch {}
                break
            }
            #expect(throws: TunError.noSuchInterface("warren-test1")) { _ = try TunDevice.attach("warren-test1") }
        }
    }

    @Test func `what can't be had is refused with what to do`() throws {
        let network = try TestNetwork()
        try network.namespace.run {
            for name in ["", "sixteen-bytes-xx", "a/b", "a b", "..", "tun%d"] {
                #expect(throws: TunError.invalidName(name)) { _ = try TunDevice.create(name) }
                #expect(throws: TunError.invalidName(name)) { _ = try TunDevice.attach(name) }
            }
            #expect(throws: TunError.noSuchInterface("warren-test0")) { _ = try TunDevice.attach("warren-test0") }
            #expect(throws: TunError.notTun("lo")) { _ = try TunDevice.attach("lo") }
            #expect(throws: TunError.exists("lo")) { _ = try TunDevice.create("lo") }
            let device = try TunDevice.create("warren-test0")
            #expect(throws: TunError.exists("warren-test0")) { _ = try TunDevice.create("warren-test0") }
            #expect(throws: TunError.held("warren-test0")) { _ = try TunDevice.attach("warren-test0") }
            #expect(device.name == "warren-test0")
        }
        #expect("\(TunError.held("warren0"))" == "attach to warren0: another process holds it: stop that process first")
    }

    @Test func `the offloads of this kernel are granted, and asking for fewer takes them back`() throws {
        let network = try TestNetwork()
        try network.namespace.run {
            let device = try TunDevice.create("warren-test0")
            let granted = device.enableOffloads()
            #expect(granted.isSuperset(of: [.checksum, .tso4, .tso6]))
            #expect(device.enableOffloads([]) == [])
            #expect(device.enableOffloads([.checksum]) == [.checksum])
        }
        #expect("\(TunOffloads.all)" == "csum tso4 tso6 ecn uso4 uso6")
    }

    @Test func `a handed-over descriptor is taken when it is a TUN of the right framing`() throws {
        let network = try TestNetwork()
        try network.namespace.run {
            let device = try TunDevice.create("warren-test0")
            let copy = FileDescriptor(owning: CLinux_fcntl(device.raw, F_DUPFD_CLOEXEC, 3))
            let adopted = try TunDevice(adopting: copy)
            #expect(adopted.name == "warren-test0")
            #expect(adopted.enableOffloads().contains(.tso4))

            func adopt(_ raw: Int32) throws { _ = try TunDevice(adopting: FileDescriptor(owning: raw)) }
            let other = try FileDescriptor(open: "/dev/null", O_RDWR).release()
            #expect(throws: TunError.notTun("descriptor \(other)")) { try adopt(other) }
            let unattached = try FileDescriptor(open: "/dev/net/tun", O_RDWR).release()
            #expect(throws: TunError.notTun("descriptor \(unattached)")) { try adopt(unattached) }
            // IFF_TUN without the rest: 4 bytes of packet information instead of the virtio header.
            let plain = try FileDescriptor(open: "/dev/net/tun", O_RDWR).release()
            var request: [UInt8] = Array("warren-test2".utf8) + [0, 0, 0, 0, 1, 0] + [UInt8](repeating: 0, count: 22)
            let attached = unsafe CLinux_ioctl_pointer(plain, CLinux_TUNSETIFF, &request)
            #expect(attached == 0)
            #expect(throws: TunError.wrongFraming("warren-test2")) { try adopt(plain) }
        }
    }

    @Test func `it works on in another namespace, and reads end when it is deleted`() throws {
        let here = try TestNetwork()
        let there = try TestNetwork()
        let tun = try here.makeTun("warren-test0", addresses: ["10.9.0.1/24"])
        let target = there.namespace.raw
        let pid = getpid()
        try here.command("ip link set warren-test0 netns /proc/\(pid)/fd/\(target)")
        try there.command("ip link set warren-test0 mtu 1333 up")
        try there.command("ip address add 10.9.0.1/24 dev warren-test0")
        #expect(tun.device.name == "warren-test0")
        #expect(tun.device.mtu == 1333)
        var flow = TestFlow(isTCP: false)
        _ = flow.packet([])
        try there.command("ip link delete warren-test0")
        var buffer = [UInt8](repeating: 0, count: TunDevice.frameBufferSize)
        var result = 0
        for _ in 0..<100 {
            result = unsafe buffer.withUnsafeMutableBytes { unsafe tun.device.read(into: $0) }
            if result < 0 { break }
            usleep(1000)
        }
        #expect(result == -Int(EBADFD))
        let written = unsafe flow.packet([1]).withUnsafeBytes { unsafe tun.device.write($0) }
        #expect(written == -Int(EBADFD))
        #expect(tun.device.name == nil)
        #expect(tun.device.mtu == nil)
    }

    @Test func `the owner's uid attaches without any capability, again and again, and may not create`() async throws {
        let result = await #expect(processExitsWith: .success) {
            try withUnprivileged(uid: 65532, owner: 65532) {
                for _ in 0..<3 {
                    let device = try TunDevice.attach("warren-test0")
                    #expect(device.enableOffloads().contains([.checksum, .tso4, .tso6]))
                    #expect(device.name == "warren-test0")
                    #expect(device.mtu == 1500)
                    #expect(throws: TunError.held("warren-test0")) { _ = try TunDevice.attach("warren-test0") }
                }
                #expect(throws: TunError.notPermitted("warren-test1")) { _ = try TunDevice.create("warren-test1") }
            }
        }
        #expect(result != nil)
    }

    @Test func `another uid is refused`() async throws {
        await #expect(processExitsWith: .success) {
            try withUnprivileged(uid: 65533, owner: 65532) {
                #expect(throws: TunError.notOwner("warren-test0", uid: 65533)) {
                    _ = try TunDevice.attach("warren-test0")
                }
            }
        }
    }

    @Test func `a missing or locked device node is named`() async throws {
        await #expect(processExitsWith: .success) {
            try withUnprivileged(uid: 65532, owner: 65532, node: .locked) {
                #expect(throws: TunError.deviceNodeDenied(.accessDenied)) { _ = try TunDevice.attach("warren-test0") }
            }
        }
        await #expect(processExitsWith: .success) {
            try withUnprivileged(uid: 65532, owner: 65532, node: .missing) {
                #expect(throws: TunError.noDeviceNode) { _ = try TunDevice.attach("warren-test0") }
            }
        }
    }
}

enum DeviceNode { case open, locked, missing }

/// In this process, which is given up for it: makes a persistent device for `owner` in new network and mount namespaces,
/// then becomes `uid` for good and runs `body`. `/dev/net` is a folder of our own there, with the usual open node or not.
func withUnprivileged(
    uid: UInt32, owner: UInt32, node: DeviceNode = .open, _ body: @escaping @Sendable () throws -> Void
) throws {
    try Thread.run(named: "warren-test") {
        _ = try check("unshare") { CLinux_unshare(CLinux_CLONE_NEWNET | 0x20000) }  // CLONE_NEWNS
        try run("mount --make-rprivate /")
        try run("mount -t tmpfs -o mode=755,dev tmpfs /dev/net")
        try run("mknod -m 0600 /dev/net/tun c 10 200")
        do {
            let device = try TunDevice.create("warren-test0")
            try device.persist(owner: owner)
        }
        switch node {
        case .open: try run("chmod 0666 /dev/net/tun")
        case .locked: break
        case .missing: try run("rm /dev/net/tun")
        }
        _ = try check("setgid") { setgid(uid) }
        _ = try check("setuid") { setuid(uid) }
        try body()
    }
}
