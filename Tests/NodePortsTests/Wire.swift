import Addressing
import CLinux
import Glibc
import Linux
import TestSupport

@testable import NodePorts

/// A UDP socket of a namespace.
final class Datagrams: Sendable {
    private let descriptor: FileDescriptor

    init(in place: ScratchNamespace, _ address: String = "0.0.0.0", port: UInt16 = 0) throws {
        let raw = try place.run {
            let raw = try check("socket") { socket(AF_INET, Int32(SOCK_DGRAM.rawValue) | O_CLOEXEC, 0) }
            var name = try Self.name(address, port)
            _ = try check("bind \(address):\(port)") {
                unsafe withUnsafePointer(to: &name) {
                    unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { unsafe bind(raw, $0, 16) }
                }
            }
            return raw
        }
        descriptor = FileDescriptor(owning: raw)
    }

    func send(_ text: String, to address: String, _ port: UInt16) throws {
        var name = try Self.name(address, port)
        let bytes = Array(text.utf8)
        _ = unsafe withUnsafePointer(to: &name) {
            unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe sendto(descriptor.raw, bytes, bytes.count, 0, $0, 16)
            }
        }
    }

    /// What came, and from where; nil when nothing comes in time.
    func receive(milliseconds: Int32 = 500) -> (text: String, address: String, port: UInt16)? {
        var wait = pollfd(fd: descriptor.raw, events: Int16(POLLIN), revents: 0)
        guard unsafe poll(&wait, 1, milliseconds) == 1 else { return nil }
        var name = sockaddr_in()
        var size = socklen_t(16)
        var bytes = [UInt8](repeating: 0, count: 512)
        let length = unsafe withUnsafeMutablePointer(to: &name) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe recvfrom(descriptor.raw, &bytes, bytes.count, 0, $0, &size)
            }
        }
        guard length >= 0 else { return nil }
        return (
            String(decoding: bytes.prefix(length), as: UTF8.self),
            IPv4Address(value: UInt32(bigEndian: name.sin_addr.s_addr)).description, UInt16(bigEndian: name.sin_port)
        )
    }

    private static func name(_ address: String, _ port: UInt16) throws -> sockaddr_in {
        guard let address = IPv4Address(address) else {
            throw ChildProcess.Failure(description: "bad address \(address)")
        }
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        name.sin_port = port.bigEndian
        name.sin_addr.s_addr = address.value.bigEndian
        return name
    }
}

/// A node that gives every destination another random port, as a cloud's does, with two pods behind it.
///
/// ```
///   pod 10.1.0.2 ─┐ 10.1.0.1      203.0.113.11
///                 node ─────────────────────── outside 203.0.113.1, .2, .3 and 10.99.0.1
///   pod 10.2.0.2 ─┘ 10.2.0.1
/// ```
final class RandomNode: Sendable {
    let node: Node
    let pods: [ScratchNamespace]
    let outside: ScratchNamespace
    static let address = "203.0.113.11"

    init() throws {
        node = try Node()
        outside = try ScratchNamespace()
        pods = [try ScratchNamespace(), try ScratchNamespace()]
        try ip(node.place, "link set lo up")
        for (index, pod) in pods.enumerated() {
            try connect("pod\(index)", "10.\(index + 1).0.1/24", to: pod, "10.\(index + 1).0.2/24")
            try ip(pod, "route add default via 10.\(index + 1).0.1")
        }
        try connect("wan", "\(Self.address)/24", to: outside, "203.0.113.1/24")
        for address in ["203.0.113.2/24", "203.0.113.3/24", "10.99.0.1/24"] {
            try ip(outside, "address add \(address) dev eth0")
        }
        try ip(node.place, "route add 10.99.0.0/24 via 203.0.113.1")
        try node.place.run {
            try FileDescriptor(open: "/proc/sys/net/ipv4/ip_forward", O_WRONLY).writeAll(Array("1".utf8))
        }
        try node.nft(
            "-f", "-",
            input: """
                table ip node {
                    chain postrouting {
                        type nat hook postrouting priority srcnat; policy accept;
                        oifname "wan" masquerade fully-random
                    }
                }

                """)
    }

    private func connect(_ name: String, _ address: String, to place: ScratchNamespace, _ inside: String) throws {
        try ip(node.place, "link add \(name) type veth peer name eth0 netns \(place.path)")
        try ip(node.place, "address add \(address) dev \(name)")
        try ip(node.place, "link set \(name) up")
        try ip(place, "address add \(inside) dev eth0")
        try ip(place, "link set eth0 up")
    }

    private func ip(_ place: ScratchNamespace, _ words: String) throws {
        try Command.run(["ip"] + words.split(separator: " ").map(String.init), in: place.path)
    }

    /// What conntrack has of UDP.
    func flows() throws -> [String] {
        try Command.run(["conntrack", "-L", "-p", "udp"], in: node.place.path).split(separator: "\n").map(String.init)
    }

    /// Maps a port of the range to the pod; in the background nothing happens.
    func assign(_ pod: Int, _ plan: PortPlan) throws -> NodePort {
        let map = node.map
        let address = IPv4Address(10, UInt8(pod + 1), 0, 2)
        return try node.place.run { try map.assign(to: address, holder: Node.holder(pod), plan: plan) }
    }

    func forget(_ port: NodePort, mappedBy plan: PortPlan? = nil) throws -> Int {
        try node.place.run {
            try StaleFlows.forget(port, mapped: plan == nil ? [] : [port], exceptions: plan?.exceptions ?? [])
        }
    }
}
