package import Addressing
package import Linux
package import Sodium
import Glibc

/// The cross-platform userspace configuration protocol, as text: what `wg(8)` writes to and reads from
/// `/var/run/wireguard/IFNAME.sock` (wireguard.com/xplatform).
///
/// A request is `get=1` or `set=1` and `key=value` lines up to an empty line; an answer ends with `errno=N` and an empty
/// line. Pure text in and values out; `ConfigurationServer` owns the socket.
package enum ConfigurationRequest: Sendable {
    case get
    case set(DeviceChange)

    /// A `set=1` request. What is nil stays as it is.
    package struct DeviceChange: Sendable {
        /// All zero removes the key. The bytes are wiped by whoever applies the change.
        package var privateKey: [UInt8]?
        package var listenPort: UInt16?
        package var firewallMark: UInt32?
        package var replacesPeers = false
        package var peers: [PeerChange] = []
    }

    package struct PeerChange: Sendable {
        package let publicKey: X25519.PublicKey
        package var remove = false
        package var updateOnly = false
        /// All zero removes the key.
        package var presharedKey: [UInt8]?
        package var endpoint: Endpoint?
        package var persistentKeepalive: UInt16?
        package var replacesAllowedIPs = false
        package var allowedIPs: [(prefix: IPPrefix, remove: Bool)] = []
    }

    /// The request in the lines before the empty one; throws the errno that the answer carries.
    package init(parsing text: String) throws(Errno) {
        var lines = text.split(separator: "\n", omittingEmptySubsequences: true)[...]
        switch lines.popFirst() {
        case "get=1":
            guard lines.isEmpty else { throw .invalidArgument }
            self = .get
        case "set=1": self = .set(try Self.change(in: lines))
        default: throw Errno(EPROTO)
        }
    }

    private static func change(in lines: ArraySlice<Substring>) throws(Errno) -> DeviceChange {
        var change = DeviceChange()
        for line in lines {
            guard let equals = line.firstIndex(of: "=") else { throw Errno(EPROTO) }
            let key = line[..<equals]
            let value = line[line.index(after: equals)...]
            if key == "public_key" {
                guard let bytes = Hexadecimal.decode(value), let publicKey = Bytes32(bytes) else {
                    throw .invalidArgument
                }
                change.peers.append(PeerChange(publicKey: publicKey))
            } else if change.peers.isEmpty {
                try apply(key, value, to: &change)
            } else {
                try apply(key, value, to: &change.peers[change.peers.count - 1])
            }
        }
        return change
    }

    private static func apply(_ key: Substring, _ value: Substring, to change: inout DeviceChange) throws(Errno) {
        switch key {
        case "private_key": change.privateKey = try key32(value)
        case "listen_port": change.listenPort = try number(value)
        case "fwmark": change.firewallMark = try number(value)
        case "replace_peers": change.replacesPeers = try flag(value)
        default: throw .invalidArgument
        }
    }

    private static func apply(_ key: Substring, _ value: Substring, to peer: inout PeerChange) throws(Errno) {
        switch key {
        case "remove": peer.remove = try flag(value)
        case "update_only": peer.updateOnly = try flag(value)
        case "preshared_key": peer.presharedKey = try key32(value)
        case "endpoint":
            guard let endpoint = Endpoint(String(value)) else { throw .invalidArgument }
            peer.endpoint = endpoint
        case "persistent_keepalive_interval": peer.persistentKeepalive = try number(value)
        case "replace_allowed_ips": peer.replacesAllowedIPs = try flag(value)
        case "allowed_ip":
            let remove = value.hasPrefix("-")
            guard let prefix = IPPrefix(String(remove ? value.dropFirst() : value)) else { throw .invalidArgument }
            peer.allowedIPs.append((prefix.masked, remove))
        case "protocol_version":
            guard value == "1" else { throw .invalidArgument }
        default: throw .invalidArgument
        }
    }

    private static func key32(_ value: Substring) throws(Errno) -> [UInt8] {
        guard let bytes = Hexadecimal.decode(value), bytes.count == 32 else { throw .invalidArgument }
        return bytes
    }

    private static func number<Number: FixedWidthInteger>(_ value: Substring) throws(Errno) -> Number {
        guard let number = value.hasPrefix("0x") ? Number(value.dropFirst(2), radix: 16) : Number(value) else {
            throw .invalidArgument
        }
        return number
    }

    private static func flag(_ value: Substring) throws(Errno) -> Bool {
        guard value == "true" else { throw .invalidArgument }
        return true
    }
}
