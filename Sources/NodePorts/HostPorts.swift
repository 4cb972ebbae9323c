import CLinux
import Glibc
import Linux

/// The node's own use of UDP ports, in the calling thread's network namespace.
package enum HostPorts {
    /// Whether no socket of the node has the port, with whatever address. What another program binds a moment later
    /// is not foreseen.
    package static func isFree(_ port: UInt16) -> Bool {
        let raw = socket(AF_INET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard raw >= 0 else { return false }
        let descriptor = FileDescriptor(owning: raw)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        let result = unsafe withUnsafePointer(to: &address) { pointer in
            // Safe: a sockaddr_in is passed as what bind(2) takes, with its own size.
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe bind(descriptor.raw, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        return result == 0
    }

    /// The ports that the kernel gives sockets that ask for none (ip_local_port_range), where some are in `range` and
    /// not reserved: such a socket's unasked datagrams, and answers that come late, would be a pod's. Its other answers
    /// find it, so this is a reason to warn and no more.
    package static func ephemeral(in range: ClosedRange<UInt16>) -> ClosedRange<UInt16>? {
        let folder = "/proc/sys/net/ipv4"
        let bounds = words("\(folder)/ip_local_port_range", separatedBy: [0x09, 0x20]).compactMap { UInt16($0) }
        guard bounds.count == 2, bounds[0] <= bounds[1], range.overlaps(bounds[0]...bounds[1]) else { return nil }
        let common = range.clamped(to: bounds[0]...bounds[1])
        for part in words("\(folder)/ip_local_reserved_ports", separatedBy: [0x2c]) {
            let edges = part.split(separator: "-").compactMap { UInt16($0) }
            guard let first = edges.first, let last = edges.last else { continue }
            if first <= common.lowerBound && last >= common.upperBound { return nil }
        }
        return common
    }

    private static func words(_ file: String, separatedBy separators: [UInt8]) -> [Substring] {
        guard let bytes = try? FileDescriptor(open: file, O_RDONLY).read(upTo: 65536) else { return [] }
        return bytes.split { separators.contains($0) || $0 == 0x0a }.map { Substring(decoding: $0, as: UTF8.self) }
    }
}
