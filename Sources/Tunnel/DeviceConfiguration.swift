import Addressing
import Glibc
import Linux
import Sodium
import Timing
import WireGuard

/// Applies and answers requests of the configuration protocol, on the tunnel's thread.
enum DeviceConfiguration {
    /// The answer to one request, complete with its `errno` line. A refused `set` may have been applied in part, as in
    /// every implementation of the protocol.
    static func answer(_ request: String, _ core: inout TunnelCore) -> String {
        do throws(Errno) {
            switch try ConfigurationRequest(parsing: request) {
            case .get: return describe(core) + "errno=0\n\n"
            case .set(let change):
                try apply(change, &core)
                return "errno=0\n\n"
            }
        } catch {
            return refusal(error)
        }
    }

    /// The answer to a request that failed. The number is negative, as wireguard-go's is: `wg` negates it again to print it.
    static func refusal(_ errno: Errno) -> String { "errno=\(-errno.code)\n\n" }

    // MARK: get=1

    private static func describe(_ core: borrowing TunnelCore) -> String {
        var lines: [String] = []
        if var key = core.device.exportPrivateKey() {
            lines.append("private_key=\(Hexadecimal.encode(key))")
            unsafe key.withUnsafeMutableBytes { unsafe wipe($0) }
        }
        lines.append("listen_port=\(core.port)")
        if core.mark != 0 { lines.append("fwmark=\(core.mark)") }
        for id in core.device.peerIDs {
            if let peer = core.device.snapshot(id) { lines += describe(peer, core) }
        }
        return lines.map { $0 + "\n" }.joined()
    }

    private static func describe(_ peer: PeerSnapshot, _ core: borrowing TunnelCore) -> [String] {
        var lines = ["public_key=\(peer.publicKey)"]
        if var key = core.device.exportPresharedKey(peer.id) {
            lines.append("preshared_key=\(Hexadecimal.encode(key))")
            unsafe key.withUnsafeMutableBytes { unsafe wipe($0) }
        }
        lines.append("protocol_version=1")
        if case .direct(_, let endpoint) = peer.path { lines.append("endpoint=\(endpoint)") }
        lines.append("last_handshake_time_sec=\(peer.lastHandshake?.seconds ?? 0)")
        lines.append("last_handshake_time_nsec=\(peer.lastHandshake?.nanoseconds ?? 0)")
        lines.append("tx_bytes=\(peer.sentBytes)")
        lines.append("rx_bytes=\(peer.receivedBytes)")
        lines.append("persistent_keepalive_interval=\(peer.persistentKeepalive)")
        lines += peer.allowedIPs.map { "allowed_ip=\($0)" }
        return lines
    }

    // MARK: set=1

    /// Whether `key` is the device's private key.
    private static func isCurrent(_ key: [UInt8], _ core: borrowing TunnelCore) -> Bool {
        guard var current = core.device.exportPrivateKey() else { return false }
        defer { unsafe current.withUnsafeMutableBytes { unsafe wipe($0) } }
        return constantTimeEqual(current.span, key.span)
    }

    private static func apply(
        _ change: ConfigurationRequest.DeviceChange, _ core: inout TunnelCore
    ) throws(Errno) {
        if var bytes = change.privateKey {
            defer { unsafe bytes.withUnsafeMutableBytes { unsafe wipe($0) } }
            // Kept and shown as it is used (RFC 7748 5), which other implementations do, too; all zero stays none.
            if bytes.contains(where: { $0 != 0 }) {
                bytes[0] &= 248
                bytes[31] = bytes[31] & 127 | 64
            }
            // The same key again changes nothing, as in the kernel: `wg syncconf` must not cost the sessions.
            if !isCurrent(bytes, core) {
                let key = try secret(bytes)
                core.device.setPrivateKey(consume key)
            }
        }
        if let port = change.listenPort, port != core.port || port == 0 {
            do { try core.bind(port: port) } catch { throw Errno(EADDRINUSE) }
        }
        if let mark = change.firewallMark { core.setMark(mark) }
        if change.replacesPeers {
            for id in core.device.peerIDs { core.device.removePeer(id) }
        }
        for peer in change.peers { try apply(peer, &core) }
    }

    private static func apply(_ change: ConfigurationRequest.PeerChange, _ core: inout TunnelCore) throws(Errno) {
        // The device's own key as a peer is skipped in silence, as everywhere.
        if change.publicKey == core.device.publicKey { return }
        let known = core.device.peer(change.publicKey)
        if change.remove {
            if let known { core.device.removePeer(known) }
            return
        }
        if known == nil, change.updateOnly { return }
        let id: PeerID
        do { id = try known ?? core.device.addPeer(change.publicKey) } catch { throw .noBuffers }
        if var bytes = change.presharedKey {
            defer { unsafe bytes.withUnsafeMutableBytes { unsafe wipe($0) } }
            let key = try secret(bytes)
            do { try core.device.setPresharedKey(id, consume key) } catch { throw .noBuffers }
        }
        if let endpoint = change.endpoint {
            core.device.setPath(id, .direct(socket: TunnelCore.socket(for: endpoint.address), endpoint))
        }
        if let seconds = change.persistentKeepalive { core.device.setPersistentKeepalive(id, seconds: seconds) }
        var prefixes = change.replacesAllowedIPs ? [] : core.device.snapshot(id)?.allowedIPs ?? []
        for (prefix, remove) in change.allowedIPs {
            prefixes.removeAll { $0 == prefix }
            if !remove { prefixes.append(prefix) }
        }
        if change.replacesAllowedIPs || !change.allowedIPs.isEmpty { core.device.setAllowedIPs(id, prefixes) }
    }

    /// A key of the protocol; nil for all zero, which means none.
    private static func secret(_ bytes: [UInt8]) throws(Errno) -> SecretKey? {
        let key: SecretKey
        do { key = try SecretKey(copying: bytes) } catch { throw .noBuffers }
        return key.isZero ? nil : consume key
    }
}
