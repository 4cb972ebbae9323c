import Addressing
import Glibc
import Linux
import Testing

@testable import CNI

@Suite struct StoreTests {
    private let folder: ScratchFolder
    private let path: String
    private let first = Store.Holder(containerID: "a", ifName: "eth0")
    private let second = Store.Holder(containerID: "b", ifName: "eth0")
    private let address = IPAddress("10.9.7.1")!

    init() throws {
        folder = try ScratchFolder()
        path = "\(folder.path)/networks/mesh"
    }

    private func plan(_ range: String? = nil, start: String? = nil, end: String? = nil) throws -> AddressPlan {
        func member(_ key: String, _ value: String?) -> String { value.map { #","\#(key)":"\#($0)""# } ?? "" }
        let text =
            #"{"mesh":"fd00:9::/48","node":7"# + member("ipv4Range", range) + member("rangeStart", start)
            + member("rangeEnd", end) + "}"
        return try AddressPlan(NetConf(parsing: Array(text.utf8)))
    }

    @Test func `a record has host-local's layout`() throws {
        let store = try Store(creating: path)
        #expect(try store.reserve(address, for: first))
        #expect(folder.read("networks/mesh/10.9.7.1") == "a\r\neth0")
        #expect(store.holder(of: address) == first)
        #expect(folder.names("networks/mesh") == ["10.9.7.1", "lock"])
        var status = stat()
        #expect(unsafe stat("\(path)/10.9.7.1", &status) == 0 && status.st_mode & 0o777 == 0o600)
    }

    @Test func `a taken address is not given again, and its record stays`() throws {
        let store = try Store(creating: path)
        #expect(try store.reserve(address, for: first))
        #expect(try !store.reserve(address, for: second))
        #expect(store.holder(of: address) == first)
    }

    @Test func `releasing frees the holder's addresses only, and twice is once`() throws {
        let store = try Store(creating: path)
        let other = IPAddress("fd00::1")!
        let sameContainer = Store.Holder(containerID: "a", ifName: "net1")
        #expect(try store.reserve(address, for: first))
        #expect(try store.reserve(other, for: sameContainer))
        #expect(try store.release(first) == [address])
        #expect(try store.release(first) == [])
        #expect(try store.taken() == [other])
    }

    @Test func `a store that is not there is none`() throws {
        let isMissing = try Store(existing: path) == nil
        #expect(isMissing)
    }

    @Test func `what crashes leave behind is found and replaced`() throws {
        do { _ = try Store(creating: path) }
        try folder.write("", to: "networks/mesh/10.9.7.1")  // plugins#498: created, never written
        try folder.write("x\r\neth0", to: "networks/mesh/.reserve.4711")
        let store = try Store(creating: path)
        let addresses = try plan("10.9.7.0/30", start: "10.9.7.1", end: "10.9.7.1")
            .allocate(requested: [], network: "mesh", holder: first, in: store)
        #expect(addresses.last == address)
        #expect(store.holder(of: address) == first)
        #expect(!folder.names("networks/mesh").contains(".reserve.4711"))
    }

    @Test func `a folder that can't be made is an error with its path`() throws {
        try folder.write("", to: "networks")
        let error = #expect(throws: CNIError.self) { _ = try Store(creating: path) }
        #expect(error?.code == 5 && error?.message.contains("networks") == true)
    }

    @Test func `the lock keeps others out until the store is let go`() throws {
        let path = path
        var store: Store? = try Store(creating: path)
        let order = Order()
        let thread = try Linux.Thread(named: "contender") {
            guard (try? Store(creating: path)) != nil else { return }
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
        #expect(
            plan.address(network: "mesh", containerID: "abc", attempt: 0)
                == IPv6Address("fd00:9:0:7:94e:372b:ee9b:5fec"))
        #expect(
            plan.address(network: "mesh", containerID: "abc", attempt: 1)
                == IPv6Address("fd00:9:0:7:94e:382b:ee9b:619f"))
    }

    @Test func `a collision takes the next attempt`() throws {
        let plan = try plan()
        let store = try Store(creating: path)
        let collision = IPAddress.v6(plan.address(network: "mesh", containerID: "a", attempt: 0))
        #expect(try store.reserve(collision, for: second))
        let addresses = try plan.allocate(requested: [], network: "mesh", holder: first, in: store)
        #expect(addresses == [.v6(plan.address(network: "mesh", containerID: "a", attempt: 1))])
    }

    @Test func `IPv4 goes round after the last, over what is taken`() throws {
        let plan = try plan("10.9.7.0/29")
        let store = try Store(creating: path)
        func allocate(_ id: String) throws -> IPAddress? {
            try plan.allocate(
                requested: [], network: "mesh", holder: Store.Holder(containerID: id, ifName: "eth0"), in: store
            ).last
        }
        #expect(try allocate("a") == IPAddress("10.9.7.1"))
        #expect(try allocate("b") == IPAddress("10.9.7.2"))
        try store.release(first)
        #expect(try allocate("c") == IPAddress("10.9.7.3"))  // not the one just freed
        for (id, host) in [("d", 4), ("e", 5), ("f", 6), ("g", 1)] {
            #expect(try allocate(id) == IPAddress("10.9.7.\(host)"))
        }
        let error = #expect(throws: CNIError.self) { try allocate("h") }
        #expect(error?.code == 102)
        // The refused container holds nothing: its IPv6 address was given back.
        #expect(try store.addresses(of: Store.Holder(containerID: "h", ifName: "eth0")) == [])
    }

    @Test func `an asked for address is given, refused outside the plan, and refused when taken`() throws {
        let plan = try plan("10.9.7.0/24")
        let store = try Store(creating: path)
        let asked = [IPAddress("10.9.7.99")!, IPAddress("fd00:9:0:7::99")!]
        let given = try plan.allocate(requested: asked, network: "mesh", holder: first, in: store)
        #expect(given == asked.reversed())

        for (text, code) in [
            ("10.9.8.1", 7), ("10.9.7.0", 7), ("fd00:9:0:8::1", 7), ("fd00:9:0:7::", 7), ("10.9.7.99", 101),
        ] {
            let error = #expect(throws: CNIError.self) {
                try plan.allocate(requested: [IPAddress(text)!], network: "mesh", holder: second, in: store)
            }
            #expect(error?.code == code)
            #expect(error?.message.contains(text) == true)
        }
        let two = [IPAddress("10.9.7.5")!, IPAddress("10.9.7.6")!]
        #expect(throws: CNIError.self) {
            try plan.allocate(requested: two, network: "mesh", holder: second, in: store)
        }
        #expect(try store.addresses(of: second) == [])
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
        let (path, plan) = (path, try plan("10.9.7.0/26"))
        let order = Order()
        var threads: [Joinable] = []
        for index in 0..<8 {
            threads.append(
                try Joinable {
                    for round in 0..<7 {
                        guard let store = try? Store(creating: path) else { continue }
                        let holder = Store.Holder(containerID: "c\(index)-\(round)", ifName: "eth0")
                        let given = try? plan.allocate(requested: [], network: "mesh", holder: holder, in: store)
                        for address in given ?? [] { order.add("\(address)") }
                    }
                })
        }
        for thread in threads { thread.join() }
        #expect(order.names.count == 112)
        #expect(Set(order.names).count == 112)
    }
}
