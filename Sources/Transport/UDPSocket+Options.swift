import CLinux
import Glibc

extension UDPSocket {
    /// Has each receive say when the kernel took it in (SO_TIMESTAMPNS): how long it has waited.
    @discardableResult
    package borrowing func enableTimestamps() -> Bool { setOption(raw, SOL_SOCKET, SO_TIMESTAMPNS, 1) }

    /// What becomes of datagrams that are larger than the path (ip(7), IP_MTU_DISCOVER).
    package enum PathMTUDiscovery: Int32, Sendable {
        /// Fragmented on the way: IP_PMTUDISC_DONT.
        case never = 0
        /// Fragmented here once the kernel has learned of it, with don't-fragment before: IP_PMTUDISC_WANT.
        case kernel = 1
        /// Don't-fragment, and what the kernel has learned is ignored: IP_PMTUDISC_PROBE, for measuring a path.
        case probe = 3
    }

    /// False when the kernel refused.
    @discardableResult
    package borrowing func setPathMTUDiscovery(_ mode: PathMTUDiscovery) -> Bool {
        guard family == .ipv6 else { return setOption(raw, Int32(IPPROTO_IP), IP_MTU_DISCOVER, mode.rawValue) }
        // Routers fragment no IPv6, but the sender does what is larger than its own link, unless forbidden.
        return setOption(raw, Int32(IPPROTO_IPV6), IPV6_MTU_DISCOVER, mode.rawValue)
            && setOption(raw, Int32(IPPROTO_IPV6), IPV6_DONTFRAG, mode == .probe ? 1 : 0)
    }

    /// Lets one receive take many datagrams of one source (UDP_GRO). False before Linux 5.12, where it can't be read back.
    ///
    /// From then on receive with a `ReceiveBatch` of whole 64 KiB buffers.
    @discardableResult
    package borrowing func enableReceiveOffload(_ isOn: Bool = true) -> Bool {
        setOption(raw, Int32(IPPROTO_UDP), Int32(CLinux_UDP_GRO), isOn ? 1 : 0)
            && option(raw, Int32(IPPROTO_UDP), Int32(CLinux_UDP_GRO)) == (isOn ? 1 : 0)
    }

    /// The firewall mark of what is sent (SO_MARK; `wg set fwmark`), 0 for none. False without CAP_NET_ADMIN.
    @discardableResult
    package borrowing func setMark(_ mark: UInt32) -> Bool {
        setOption(raw, SOL_SOCKET, SO_MARK, Int32(bitPattern: mark))
    }

    /// The kernel's receive and send buffer in bytes, as granted (it counts twice what was asked for).
    package var bufferSizes: (receive: Int, send: Int) {
        (Int(option(raw, SOL_SOCKET, SO_RCVBUF) ?? 0), Int(option(raw, SOL_SOCKET, SO_SNDBUF) ?? 0))
    }
}

/// setsockopt(2) with an int.
@discardableResult
func setOption(_ raw: Int32, _ level: Int32, _ name: Int32, _ value: Int32) -> Bool {
    var value = value
    return unsafe setsockopt(raw, level, name, &value, socklen_t(MemoryLayout<Int32>.size)) == 0
}

/// getsockopt(2) of an int; nil when the kernel does not know it.
func option(_ raw: Int32, _ level: Int32, _ name: Int32) -> Int32? {
    var value: Int32 = 0
    var length = socklen_t(MemoryLayout<Int32>.size)
    return unsafe getsockopt(raw, level, name, &value, &length) == 0 ? value : nil
}
