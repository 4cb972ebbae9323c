import Addressing
import Linux
import Sodium
import TestSupport
import Testing

@testable import Tunnel

@Suite struct ConfigurationRequestTests {
    private let key = String(repeating: "a1", count: 32)

    private func change(_ lines: String...) throws -> ConfigurationRequest.DeviceChange? {
        guard case .set(let change) = try ConfigurationRequest(parsing: (["set=1"] + lines).joined(separator: "\n"))
        else { return nil }
        return change
    }

    private func code(_ text: String) -> Errno? {
        do {
            _ = try ConfigurationRequest(parsing: text)
            return nil
        } catch { return error }
    }

    @Test func `what wg setconf writes is understood whole`() throws {
        let change = try #require(
            try change(
                "private_key=\(key)", "listen_port=51820", "fwmark=0x1f", "replace_peers=true", "public_key=\(key)",
                "update_only=true", "preshared_key=\(key)", "endpoint=[2001:db8::1]:7",
                "persistent_keepalive_interval=25",
                "replace_allowed_ips=true", "allowed_ip=10.1.2.3/8", "allowed_ip=-fd00::/64", "public_key=\(key)",
                "remove=true", "protocol_version=1"))
        #expect(change.privateKey == [UInt8](repeating: 0xa1, count: 32))
        #expect((change.listenPort, change.firewallMark, change.replacesPeers) == (51820, 31, true))
        #expect(change.peers.count == 2)
        let peer = change.peers[0]
        #expect(peer.publicKey.bytes == [UInt8](repeating: 0xa1, count: 32))
        #expect(peer.updateOnly && !peer.remove && peer.replacesAllowedIPs)
        #expect(peer.presharedKey?.count == 32)
        #expect(peer.endpoint == Endpoint("[2001:db8::1]:7"))
        #expect(peer.persistentKeepalive == 25)
        #expect(peer.allowedIPs.map(\.prefix) == [IPPrefix("10.0.0.0/8")!, IPPrefix("fd00::/64")!])
        #expect(peer.allowedIPs.map(\.remove) == [false, true])
        #expect(change.peers[1].remove)
    }

    @Test func `get takes no lines`() throws {
        guard case .get = try ConfigurationRequest(parsing: "get=1\n\n") else {
            Issue.record("not a get")
            return
        }
        #expect(code("get=1\nlisten_port=1") == .invalidArgument)
    }

    @Test(arguments: ["", "\n", "hello", "set=2", "get=1x", "set=1\nno equals sign"])
    func `what is not the protocol is EPROTO`(text: String) { #expect(code(text)?.code == 71) }

    @Test(arguments: [
        "private_key=00", "private_key=zz", "private_key=", "listen_port=65536", "listen_port=-1", "listen_port=",
        "fwmark=0x1ffffffff", "fwmark=0x", "replace_peers=false", "unknown=1", "allowed_ip=10.0.0.0/8",
        "endpoint=1.2.3.4:5",
        "public_key=1234", "=", "=1",
    ])
    func `a device line that is wrong is EINVAL`(line: String) { #expect(code("set=1\n\(line)") == .invalidArgument) }

    @Test(arguments: [
        "endpoint=1.2.3.4", "endpoint=1.2.3.4:65536", "endpoint=2001:db8::1:5", "endpoint=host:5",
        "allowed_ip=10.0.0.0/33",
        "allowed_ip=::/129", "allowed_ip=", "allowed_ip=--10.0.0.0/8", "persistent_keepalive_interval=65536",
        "protocol_version=2", "remove=1", "preshared_key=00", "listen_port=5",
    ])
    func `a peer's line that is wrong is EINVAL`(line: String) {
        #expect(code("set=1\npublic_key=\(key)\n\(line)") == .invalidArgument)
    }

    @Test func `mutated requests never trap it`() {
        let valid = Array(
            "set=1\nprivate_key=\(key)\nlisten_port=51820\npublic_key=\(key)\nendpoint=[fe80::1]:5\nallowed_ip=10.0.0.0/8\n"
                .utf8)
        var random = SeededRandom(seed: 11)
        for _ in 0..<5000 {
            var bytes = valid
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let at = Int.random(in: 0..<bytes.count, using: &random)
                switch random.next() % 3 {
                case 0: bytes[at] = UInt8.random(in: 0...255, using: &random)
                case 1: bytes.remove(at: at)
                default: bytes.insert(contentsOf: bytes[at...].prefix(20), at: at)
                }
            }
            _ = code(String(decoding: bytes, as: UTF8.self))
        }
    }

    @Test func `a request ends after the first empty line`() {
        #expect(ConfigurationServer.endOfRequest(Array("get=1\n\nget".utf8)) == 7)
        #expect(ConfigurationServer.endOfRequest(Array("get=1\n".utf8)) == nil)
        #expect(ConfigurationServer.endOfRequest([]) == nil)
    }
}
