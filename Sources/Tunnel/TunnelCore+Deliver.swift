package import Timing
package import WireGuard

// What the device wants sent and told.
extension TunnelCore {
    /// Sends the device's own messages (handshakes, keepalives, cookie replies, packets that waited for keys) and hands its
    /// events to the policy, until there are none.
    package mutating func deliver<Policy: TunnelPolicy & ~Copyable>(
        _ policy: inout Policy, now: MonotonicTime, wall: WallTime
    ) {
        while true {
            let outputs = device.drainOutputs()
            for output in outputs {
                policy.willSend(output, &self, now: now)
                send(output.bytes, on: output.path)
            }
            let events = device.drainEvents()
            for event in events { policy.happened(event, &self, now: now) }
            if outputs.isEmpty, events.isEmpty { return }
        }
    }
}
