import Addressing
import CLinux
import Directory
import Linux
import Membership
import NIOCore
import Relay
import Sodium
import Timing
import Tun
import Tunnel
import WireGuard

@testable import Sidecar

extension Fixture {
    /// A peering with a real TUN, in a namespace that ends with the call. As root.
    ///
    /// - Parameter relays: those of the mesh.
    static func withPeering(
        relays: [MeshInfo.Relay] = [], now: MonotonicTime,
        _ body: @escaping @Sendable (inout Peering, inout TunnelCore) throws -> Void
    ) throws {
        // Its threads must be there before this one leaves for another namespace, which they would inherit.
        let loop = HubLink.group.next()
        try Thread.run(named: "warren-test") {
            _ = try check("unshare a network namespace") { CLinux_unshare(CLinux_CLONE_NEWNET) }
            let identity = try identity(250)
            let tun = try TunDevice.create("warren0")
            let offloads = tun.enableOffloads()
            var random = SecureRandom()
            let key = try SecretKey(using: &random)
            let probeKey = try key.copy()
            let uplinks = RelayUplinks(relays, ProxyRules())
            let bridge = try StreamBridge(uplinks.connectors, on: loop)
            var core = try TunnelCore(
                device: Device(privateKey: key, random: random), tun: tun, offloads: offloads, mtu: 1400,
                streams: bridge.gate)
            try core.bind(port: 0)
            core.relays = [RelayRoute?](repeating: nil, count: relays.count)
            var peering = Peering(
                identity: identity, verifier: RecordVerifier(mesh: mesh, authorityKey: try authority().publicKey),
                meshRanges: [range], ownAddresses: [address(250)], staticKey: probeKey, epoch: 1, relays: relays,
                homes: uplinks.homes(identity, credential: [1], now: now), bridge: bridge, stunServers: [],
                hasIPv6: true, maximumPacket: 1400,
                events: AsyncStream<PeeringEvent>.makeStream(bufferingPolicy: .bufferingNewest(16)).continuation,
                now: now)
            try body(&peering, &core)
        }
    }
}
