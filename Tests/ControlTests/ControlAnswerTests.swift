import Control
import Foundation
import Testing

@Suite struct ControlAnswerTests {
    private static let status = StatusReport(
        name: "agent-a", mesh: "mesh", id: "00ff", addresses: ["fd77::1", "10.9.0.1"], hub: "unreachable",
        hubDetail: "connect hub.example:443: \"refused\" \\ tab\there\u{1}\u{1f}\nline / slash é 日本 \u{7f}\u{2028}",
        ready: true, waitingFor: [], publicKey: "abc+/=", listenPort: 51820, mapped: ["203.0.113.9:4444"], relay: "",
        relayUp: false,
        relays: [
            RelayReport(
                id: "0a", address: "relay.example:443", role: "home", state: "up", transport: "proxy", rttMs: 40.5,
                upAfterMs: 210),
            RelayReport(
                id: "0b", address: "", role: "other", state: "down", transport: "", rttMs: nil, upAfterMs: nil),
        ],
        credentialExpiresInSeconds: -5, uptimeSeconds: 12.25,
        drops: ["replayed": 3, "invalid \"mac1\"": .max, "a": 0], secretSlabs: 1, lockedSecretSlabs: 0,
        dns: DNSReport(
            domain: "demo.warren.internal", resolvers: ["169.254.53.53:53"], upstreams: ["10.96.0.10:53"],
            upstreamsDown: true, queries: ["mesh": 7, "forwarded": 2]))
    private static let peers = [
        PeerReport(
            name: "agent-b", id: "01", addresses: ["fd77::2"], publicKey: "k", path: "direct", transport: "udp",
            endpoint: "[2001:db8::1]:7", rttMs: 0.17, directAfterMs: 1e-7, rxBytes: 0, txBytes: .max, handshakeAgeS: 100
        ),
        PeerReport(
            name: "", id: "", addresses: [], publicKey: "", path: "none", transport: "", endpoint: "", rttMs: nil,
            directAfterMs: nil,
            rxBytes: 1, txBytes: 2, handshakeAgeS: 1e20),
    ]
    private static var netcheck: NetcheckReport {
        var report = NetcheckReport()
        report.addresses = ["10.0.0.2"]
        report.gateway = "10.0.0.1"
        report.ipv4 = NATReport(
            udp: true, mapped: ["203.0.113.9:4444"], isTranslated: true, mapping: "endpoint-independent",
            filtering: nil, allocation: "random ports", pooling: "paired", summary: "one \"line\"")
        report.portMapping = [PortMappingReport(name: "PCP", state: "refused", external: nil, detail: "not authorised")]
        report.hub = ReachReport(address: "hub.example:443", state: "reachable", rttMs: 1.5, readyMs: 3)
        report.relays = [
            RelayReachReport(
                id: "00ff", udp: [ReachReport(address: "192.0.2.9:3478", state: "timeout", detail: "no answer")],
                tls: ReachReport(address: "192.0.2.9:443", state: "refused"), proxy: nil)
        ]
        report.proxy = "proxy.example:3128"
        report.captivePortal = "http://portal.example/"
        report.interceptingProxy = "Example CA"
        report.problems = ["no UDP"]
        report.seconds = 1.25
        return report
    }
    private static let identity = IdentityReport(
        name: "agent-b", id: "01", addresses: ["fd77::2"], subject: "spiffe://mesh/agent/agent-b")

    @Test(arguments: [
        ControlAnswer(), ControlAnswer(error: "no such agent"), ControlAnswer(status: status), ControlAnswer(peers: []),
        ControlAnswer(peers: peers), ControlAnswer(identity: identity),
        ControlAnswer(netcheck: NetcheckReport()),
        ControlAnswer(error: "", status: status, peers: peers, identity: identity, netcheck: netcheck),
    ])
    func `its JSON is what Foundation writes, and reads as the same answer`(_ answer: ControlAnswer) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        #expect(answer.json == String(decoding: try encoder.encode(answer), as: UTF8.self))
        #expect(try JSONDecoder().decode(ControlAnswer.self, from: Data(answer.json.utf8)) == answer)
        #expect(!answer.json.contains("\n"), "one line")
    }

    @Test func `what is no number in JSON is null`() throws {
        var peer = Self.peers[0]
        peer.rttMs = .nan
        peer.directAfterMs = .infinity
        let json = ControlAnswer(peers: [peer]).json
        let decoded = try JSONDecoder().decode(ControlAnswer.self, from: Data(json.utf8))
        #expect(decoded.peers?[0].rttMs == nil && decoded.peers?[0].directAfterMs == nil)
        #expect(decoded.peers?[0].handshakeAgeS == 100)
    }
}
