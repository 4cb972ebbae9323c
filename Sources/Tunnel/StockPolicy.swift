package import Addressing
package import Timing
package import WireGuard

/// A stock WireGuard interface: nothing but WireGuard, and peers roam as the paper says (section 2.1), which the device does.
package struct StockPolicy: TunnelPolicy {
    package init() {}

    package func received(
        _ datagram: UnsafeMutableRawBufferPointer, from path: Path, _ core: inout TunnelCore, now: MonotonicTime
    ) { core.countForeign() }

    package func admits(
        initiation: UnsafeMutableRawBufferPointer, from source: AgentID, on path: Path, _ core: inout TunnelCore,
        now: MonotonicTime
    ) -> Bool { false }

    package func heard(_ peer: PeerID, on path: Path, now: MonotonicTime) {}
    package func sent(_ peer: PeerID, now: MonotonicTime) {}
    package func willSend(_ output: Output, _ core: inout TunnelCore, now: MonotonicTime) {}
    package func happened(_ event: Event, _ core: inout TunnelCore, now: MonotonicTime) {}

    /// As the kernel does for a destination without a peer: ICMP address unreachable.
    package func unroutable(_ packet: UnsafeRawBufferPointer, _ core: inout TunnelCore, now: MonotonicTime) {
        unsafe core.refuse(packet, .addressUnreachable)
    }

    package func tick(_ core: inout TunnelCore, now: MonotonicTime) {}
    package var nextDeadline: MonotonicTime { .never }
    package var watchedDescriptor: Int32 { -1 }
}
