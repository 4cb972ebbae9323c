import Glibc
package import Tun

/// Which offloads a tunnel asks the kernel for: all, less what the environment's WARREN_OFFLOADS takes away.
///
/// The value is `none`, or any of `no-tso`, `no-uso` (of the TUN), `no-gso`, `no-gro` (of the UDP sockets), separated by
/// commas; unknown words are ignored. To rule an offload out when a kernel or a driver is in doubt, and to compare.
package struct OffloadSwitches: Equatable {
    package var tun: TunOffloads = .all
    /// Many datagrams in one send.
    package var sendsSegments = true
    /// Many datagrams in one receive.
    package var receivesSegments = true

    init(_ text: String = "") {
        for word in text.split(separator: ",") {
            switch word {
            case "none": (tun, sendsSegments, receivesSegments) = ([], false, false)
            case "no-tso": tun.subtract([.tso4, .tso6, .tsoECN])
            case "no-uso": tun.subtract(.uso)
            case "no-gso": sendsSegments = false
            case "no-gro": receivesSegments = false
            default: break
            }
        }
    }

    /// Read once, at the first use.
    package static let chosen = OffloadSwitches(
        unsafe getenv("WARREN_OFFLOADS").map { unsafe String(cString: $0) } ?? "")
}
