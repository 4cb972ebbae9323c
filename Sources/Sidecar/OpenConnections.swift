import Addressing
import Glibc
import Linux

/// The pod's TCP connections at some of its addresses, whichever process has them: /proc/net/tcp and tcp6 (proc(5)), which
/// anybody may read.
enum OpenConnections {
    /// What is read of a file at most: some 100,000 connections.
    private static let sizeLimit = 16 << 20

    static func count(at addresses: [IPAddress]) -> Int {
        let addresses = Set(addresses)
        return ["/proc/self/net/tcp", "/proc/self/net/tcp6"].reduce(0) { sum, path in
            // Nothing where there is no such file: a kernel without IPv6.
            let bytes = (try? FileDescriptor(open: path, O_RDONLY).readToEnd(limit: sizeLimit)) ?? []
            return sum + count(in: String(decoding: bytes, as: UTF8.self), at: addresses)
        }
    }

    ///     sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
    ///      0: 0A4D000A:1F90 0B4D000A:C350 01 00000000:00000000 00:00000000 00000000  1000        0 12345 …
    static func count(in table: String, at addresses: Set<IPAddress>) -> Int {
        table.split(separator: "\n").dropFirst().count { line in
            let fields = line.split(separator: " ", maxSplits: 10)
            guard fields.count > 9, let state = UInt8(fields[3], radix: 16),
                let local = address(fields[1].prefix { $0 != ":" })
            else { return false }
            return addresses.contains(local) && isOpen(state, hasOwner: fields[9] != "0")
        }
    }

    /// States as in the kernel's tcp_states.h. A connection whose process has gone is still waited for while it has something
    /// to say; not when it only waits for the other side to end.
    private static func isOpen(_ state: UInt8, hasOwner: Bool) -> Bool {
        switch state {
        // Established, SYN sent and received, FIN wait 1, close wait, last ACK, closing.
        case 1, 2, 3, 4, 8, 9, 11: true
        // FIN wait 2.
        case 5: hasOwner
        default: false
        }
    }

    /// Words of 32 bits in the machine's order.
    private static func address(_ text: Substring) -> IPAddress? {
        let digits = Array(text.utf8)
        guard digits.count == 8 || digits.count == 32 else { return nil }
        var bytes: [UInt8] = []
        for start in stride(from: 0, to: digits.count, by: 8) {
            guard let word = UInt32(String(decoding: digits[start..<start + 8], as: UTF8.self), radix: 16) else {
                return nil
            }
            bytes += (0..<4).map { UInt8(truncatingIfNeeded: word.littleEndian >> (8 * UInt32($0))) }
        }
        guard let address = IPAddress(bytes: bytes) else { return nil }
        if case .v6(let v6) = address, let v4 = v6.embeddedIPv4 { return .v4(v4) }
        return address
    }
}
