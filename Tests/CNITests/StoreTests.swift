import Addressing
import Glibc
import Linux
import TestSupport
import Testing

@testable import CNI

@Suite struct StoreTests {
    private let folder: ScratchFolder
    private let location: StoreLocation
    private let first = Store.Holder(containerID: "a", ifName: "eth0")
    private let second = Store.Holder(containerID: "b", ifName: "eth0")
    private let address = IPAddress("10.9.7.1")!

    init() throws {
        folder = try ScratchFolder()
        location = StoreLocation(dataDir: folder.path, network: "mesh")
    }

    private func plan(_ range: String? = nil, start: String? = nil, end: String? = nil) throws -> AddressPlan {
        func member(_ key: String, _ value: String?) -> String { value.map { #","\#(key)":"\#($0)""# } ?? "" }
        let text =
            #"{"mesh":"fd00:9::/48","node":7"# + member("ipv4Range", range) + member("rangeStart", start)
            + member("rangeEnd", end) + "}"
        return try AddressPlan(NetConf(parsing: Array(text.utf8)))
    }

    private func record(_ holder: Store.Holder, _ addresses: [IPAddress]) -> AttachmentRecord {
        AttachmentRecord(
            network: "mesh", holder: holder,
            netns: AttachmentRecord.Netns(path: "/run/netns/x", inode: 4_026_532_573, device: 4), interface: "warren0",
            ownerUid: 64738, addresses: addresses.map { IPPrefix(host: $0) }, created: 1_700_000_000)
    }

    /// What ADD does under the lock.
    private func allocate(
        _ holder: Store.Holder, _ requested: [IPAddress] = [], of plan: AddressPlan, in store: borrowing Store
    ) throws -> [IPAddress] {
        let identity = AddressIdentity(network: "mesh", containerID: holder.containerID)
        let addresses = try plan.choose(requested: requested, identity: identity, holder: holder, in: store)
        try store.attach(record(holder, addresses))
        return addresses
    }

    @Test func `a reservation has host-local's layout`() throws {
        let store = try Store(creating: location)
        try store.reserve([address], for: first)
        #expect(folder.read("networks/mesh/10.9.7.1") == "a\r\neth0")
        #expect(store.holder(of: address) == first)
        #expect(folder.names("networks/mesh") == ["10.9.7.1", "lock"])
        var status = stat()
        let file = "\(folder.path)/networks/mesh/10.9.7.1"
        #expect(unsafe stat(file, &status) == 0 && status.st_mode & 0o777 == 0o600)
    }

    @Test func `a taken address is not given again, nor is any asked for with it`() throws {
        let store = try Store(creating: location)
        try store.reserve([address], for: first)
        let error = #expect(throws: CNIError.self) {
            try store.reserve([IPAddress("fd00::1")!, address], for: second)
        }
        #expect(error == .addressTaken("reserve 10.9.7.1 for container b interface eth0: container a holds it"))
        #expect(store.holder(of: address) == first)
        #expect(try store.taken() == [address])
    }

    @Test func `detaching frees the holder's addresses only, and twice is once`() throws {
        let store = try Store(creating: location)
        let other = IPAddress("fd00::1")!
        let sameContainer = Store.Holder(containerID: "a", ifName: "net1")
        try store.attach(record(first, [address]))
        try store.attach(record(sameContainer, [other]))
        #expect(folder.names("attachments/mesh") == ["a:eth0", "a:net1"])
        #expect(try store.detach(first) == [address])
        #expect(try store.detach(first) == [])
        #expect(try store.taken() == [other])
        #expect(folder.names("attachments/mesh") == ["a:net1"])
    }

    @Test func `a record that claims another's address frees nothing of it`() throws {
        let store = try Store(creating: location)
        try store.attach(record(first, [address]))
        try store.write(record(second, [address]))
        #expect(try store.detach(second) == [])
        #expect(store.holder(of: address) == first)
    }

    @Test(arguments: ["", "{", "[]"])
    func `without a readable record the reservations are found by their holder`(text: String) throws {
        let store = try Store(creating: location)
        try store.attach(record(first, [address, IPAddress("fd00::1")!]))
        try store.attach(record(second, [IPAddress("10.9.7.2")!]))
        try folder.write(text, to: "attachments/mesh/a:eth0")
        #expect(try store.detach(first) == [address, IPAddress("fd00::1")!])
        #expect(try store.taken() == [IPAddress("10.9.7.2")!])
        #expect(folder.names("attachments/mesh") == ["b:eth0"])
    }

    @Test func `a store that is not there is none`() throws {
        let isMissing = try Store(existing: location) == nil
        #expect(isMissing)
    }

    @Test func `what crashes leave behind is found and replaced`() throws {
        let plan = try plan("10.9.7.0/30", start: "10.9.7.1", end: "10.9.7.1")
        let store = try Store(creating: location)
        // plugins#498: created, never written.
        try folder.write("", to: "networks/mesh/10.9.7.1")
        // Killed between link and unlink: one file by two names.
        try folder.write("x\r\neth0", to: "networks/mesh/.reserve")
        #expect(unsafe link("\(folder.path)/networks/mesh/.reserve", "\(folder.path)/networks/mesh/fd00::5") == 0)
        #expect(try allocate(first, of: plan, in: store).last == address)
        #expect(store.holder(of: address) == first)
        #expect(folder.read("networks/mesh/fd00::5") == "x\r\neth0")
        #expect(!folder.names("networks/mesh").contains(".reserve"))
    }

    @Test func `a folder that can't be made is an error with its path`() throws {
        try folder.write("", to: "networks")
        let error = #expect(throws: CNIError.self) { _ = try Store(creating: location) }
        #expect(error?.code == 5 && error?.message.contains("networks") == true)
    }

    @Test func `the lock keeps others out until the store is let go`() throws {
        let location = location
        var store: Store? = try Store(creating: location)
        let order = Order()
        let thread = try Linux.Thread(named: "contender") {
            guard (try? Store(creating: location)) != nil else { return }
            order.add("contender")
        }
        usleep(50_000)
        order.add("owner")
        store = nil
        thread.join()
        let isGone = store == nil
        #expect(isGone && order.names == ["owner", "contender"])
    }

    @Test func `an IPv6 address is mesh, node and hash`() throws {
        // FNV-1a of "mesh\0abc\0" "0", computed independently: 0x094e372bee9b5fec; of "1": 0x094e382bee9b619f.
        let plan = try plan()
        let container = AddressIdentity(network: "mesh", containerID: "abc")
        #expect(plan.address(of: container, attempt: 0) == IPv6Address("fd00:9:0:7:94e:372b:ee9b:5fec"))
        #expect(plan.address(of: container, attempt: 1) == IPv6Address("fd00:9:0:7:94e:382b:ee9b:619f"))
        // Of "mesh\0pod\0default\01\0" "0": 0xa8de4ddfbc73d709.
        let uid = AttachmentRecord.Pod(namespace: "default", name: "a", uid: "1")
        for id in ["abc", "def"] {
            let pod = AddressIdentity(network: "mesh", containerID: id, pod: uid)
            #expect(plan.address(of: pod, attempt: 0) == IPv6Address("fd00:9:0:7:a8de:4ddf:bc73:d709"))
        }
        let podman = AttachmentRecord.Pod(namespace: nil, name: "a", uid: nil)
        #expect(AddressIdentity(network: "mesh", containerID: "abc", pod: podman) == container)
    }

    @Test func `a collision takes the next attempt`() throws {
        let plan = try plan()
        let store = try Store(creating: location)
        let identity = AddressIdentity(network: "mesh", containerID: "a")
        try store.reserve([.v6(plan.address(of: identity, attempt: 0))], for: second)
        #expect(try allocate(first, of: plan, in: store) == [.v6(plan.address(of: identity, attempt: 1))])
    }

    @Test func `IPv4 goes round after the last, over what is taken`() throws {
        let plan = try plan("10.9.7.0/29")
        let store = try Store(creating: location)
        func next(_ id: String) throws -> IPAddress? {
            try allocate(Store.Holder(containerID: id, ifName: "eth0"), of: plan, in: store).last
        }
        #expect(try next("a") == IPAddress("10.9.7.1"))
        #expect(try next("b") == IPAddress("10.9.7.2"))
        try store.detach(first)
        #expect(try next("c") == IPAddress("10.9.7.3"))  // not the one just freed
        for (id, host) in [("d", 4), ("e", 5), ("f", 6), ("g", 1)] {
            #expect(try next(id) == IPAddress("10.9.7.\(host)"))
        }
        let error = #expect(throws: CNIError.self) { try next("h") }
        #expect(error?.code == 102)
        #expect(!folder.names("attachments/mesh").contains("h:eth0"))
    }

    @Test func `a hole is found behind more addresses than are tried one by one`() throws {
        let plan = try plan("10.9.0.0/24")
        let store = try Store(creating: location)
        for host in 1...254 where host != 200 {
            try store.reserve([IPAddress("10.9.0.\(host)")!], for: second)
        }
        try store.setLastReserved(IPv4Address(10, 9, 0, 3))
        #expect(try allocate(first, of: plan, in: store).last == IPAddress("10.9.0.200"))
    }

    @Test func `an asked for address is given, refused outside the plan, and refused when taken`() throws {
        let plan = try plan("10.9.7.0/24")
        let store = try Store(creating: location)
        let asked = [IPAddress("10.9.7.99")!, IPAddress("fd00:9:0:7::99")!]
        #expect(try allocate(first, asked, of: plan, in: store) == asked.reversed())

        for (text, code) in [
            ("10.9.8.1", 7), ("10.9.7.0", 7), ("fd00:9:0:8::1", 7), ("fd00:9:0:7::", 7), ("10.9.7.99", 101),
        ] {
            let error = #expect(throws: CNIError.self) {
                try allocate(second, [IPAddress(text)!], of: plan, in: store)
            }
            #expect(error?.code == code)
            #expect(error?.message.contains(text) == true)
        }
        let two = [IPAddress("10.9.7.5")!, IPAddress("10.9.7.6")!]
        #expect(throws: CNIError.self) { try allocate(second, two, of: plan, in: store) }
        #expect(try store.taken() == Set(asked))
    }

    @Test func `the edges of small networks are right`() throws {
        func edges(_ cidr: String) throws -> [IPv4Address] {
            let range = try AddressRange(cidr)
            return Array(range.roundRobin(after: nil))
        }
        #expect(try edges("10.0.0.5/32") == [IPv4Address(10, 0, 0, 5)])
        #expect(try edges("10.0.0.4/31") == [IPv4Address(10, 0, 0, 4), IPv4Address(10, 0, 0, 5)])
        #expect(try edges("10.0.0.4/30") == [IPv4Address(10, 0, 0, 5), IPv4Address(10, 0, 0, 6)])
        #expect(try AddressRange("10.0.0.0/8").last == IPv4Address(10, 255, 255, 254))
        #expect(try AddressRange("255.255.255.0/24").last == IPv4Address(255, 255, 255, 254))
    }

    @Test func `many threads never give one address twice`() throws {
        let (location, plan, order) = (location, try plan("10.9.7.0/26"), Order())
        var threads: [Joinable] = []
        for index in 0..<8 {
            threads.append(
                try Joinable {
                    for round in 0..<7 {
                        guard let store = try? Store(creating: location) else { continue }
                        let holder = Store.Holder(containerID: "c\(index)-\(round)", ifName: "eth0")
                        let given = try? allocate(holder, of: plan, in: store)
                        for address in given ?? [] { order.add("\(address)") }
                    }
                })
        }
        for thread in threads { thread.join() }
        #expect(order.names.count == 112)
        #expect(Set(order.names).count == 112)
    }
}
