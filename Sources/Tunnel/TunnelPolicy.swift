package import Addressing
package import Timing
package import WireGuard

/// What differs between a stock WireGuard interface and a sidecar: called on the tunnel's thread, for what the tunnel
/// itself does not know. Everything has a default that does nothing, which is the stock behaviour.
package protocol TunnelPolicy: ~Copyable, SendableMetatype {
    /// A datagram that is neither WireGuard nor relayed data: STUN, or one of our own types.
    ///
    /// - Parameter path: where it came from; relayed when it was the payload of relay data.
    mutating func received(
        _ datagram: UnsafeMutableRawBufferPointer, from path: Path, _ core: inout TunnelCore, now: MonotonicTime)

    /// A handshake initiation through a relay: whether the device may see it now.
    mutating func admits(
        initiation: UnsafeMutableRawBufferPointer, from source: AgentID, on path: Path, _ core: inout TunnelCore,
        now: MonotonicTime
    ) -> Bool

    /// An authenticated packet of `peer` came in on `path`.
    mutating func heard(_ peer: PeerID, on path: Path, now: MonotonicTime)

    /// Data was sent, or queued, for `peer`.
    mutating func sent(_ peer: PeerID, now: MonotonicTime)

    /// The device is about to send `bytes` for `peer`: an initiation goes beside an introduction.
    mutating func willSend(_ output: Output, _ core: inout TunnelCore, now: MonotonicTime)

    /// The device says what happened to a peer's handshake.
    mutating func happened(_ event: Event, _ core: inout TunnelCore, now: MonotonicTime)

    /// A packet of the pod to an address that no peer has.
    mutating func unroutable(_ packet: UnsafeRawBufferPointer, _ core: inout TunnelCore, now: MonotonicTime)

    /// Called when `nextDeadline` has come, and after each command from another thread.
    mutating func tick(_ core: inout TunnelCore, now: MonotonicTime)

    var nextDeadline: MonotonicTime { get }

    /// An epoll descriptor of the policy's own sockets: when one of them can be read, `tick` is called. -1 for none.
    var watchedDescriptor: Int32 { get }
}
