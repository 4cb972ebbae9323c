import Addressing
import Testing
import Timing
import WireGuard

@Suite struct PacketPlaneTests {
    /// Seals a packet to B as a packet thread does: the peer and the path.
    private func seal(_ pair: Pair) throws -> (peer: PeerReference, path: Path) {
        let inner = try pair.toB()
        var output = [UInt8](repeating: 0, count: 200)
        let plane = pair.a.device.plane
        let now = pair.clock.now
        let sealed = unsafe output.withUnsafeMutableBytes { output in
            unsafe inner.withUnsafeBytes { unsafe plane.seal($0, into: output, relayHeadroom: 0, now: now) }
        }
        guard case .sealed(let peer, let path, _, _) = sealed else {
            Issue.record("not sealed: \(sealed)")
            throw DeviceError.ownPublicKey
        }
        return (peer, path)
    }

    @Test func `an answer goes where the peer was heard from, before the device knows`() throws {
        let pair = try Pair()
        try pair.connect()
        pair.a.device.publishRoutes()
        let (peer, path) = try seal(pair)
        #expect(path == pair.b.path)
        let moved = direct("[2001:db8::2]:7", socket: 1)
        pair.a.device.plane.heard(peer, on: moved)
        #expect(try seal(pair).path == moved)
        // And once the device has been told, it is so for good.
        pair.a.device.noteReceived(peer.id, on: moved, wantsRekey: false, now: pair.clock.now, wall: pair.clock.wall)
        #expect(try seal(pair).path == moved && pair.a.device.path(peer.id) == moved)
    }

    @Test func `where the caller sets paths, being heard elsewhere changes none`() throws {
        var configuration = Device.Configuration()
        configuration.roaming = .caller
        let pair = try Pair(configuration: configuration)
        try pair.connect()
        pair.a.device.publishRoutes()
        let (peer, path) = try seal(pair)
        pair.a.device.plane.heard(peer, on: direct("198.51.100.1:9"))
        #expect(try seal(pair).path == path)
    }
}
