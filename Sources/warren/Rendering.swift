import Control
import FoundationEssentials

/// Reports as JSON with stable key order, or as text that lines up.
enum Rendering {
    static func json(_ value: some Encodable) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted]
        return String(decoding: try encoder.encode(value), as: UTF8.self)
    }

    static func page(_ status: StatusReport) -> String {
        var lines = [
            ("agent", "\(status.name) in mesh \(status.mesh), id \(status.id)"),
            ("addresses", status.addresses.joined(separator: "  ")),
            (
                "ready",
                status.ready ? "yes" : "no" + (status.waitingFor.isEmpty ? "" : ", waiting for \(status.waitingFor)")
            ),
            ("hub", status.hubDetail.isEmpty ? status.hub : "\(status.hub): \(status.hubDetail)"),
            ("relay", status.relays.isEmpty ? "none" : status.relays.map(line).joined(separator: "; ")),
            ("seen from outside as", status.mapped.isEmpty ? "no STUN answer" : status.mapped.joined(separator: "  ")),
            ("NAT", status.nat.isEmpty ? "not known" : status.nat),
            (
                "port",
                "\(status.listenPort)" + (status.portMapped.isEmpty ? "" : ", forwarded from \(status.portMapped)")
            ),
            ("credential", "expires in \(status.credentialExpiresInSeconds / 60) min"),
        ]
        lines.append(("DNS", status.dns.map(resolver) ?? "no resolver in this pod"))
        if !status.drops.isEmpty {
            lines.append(
                (
                    "drops",
                    status.drops.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", ")
                ))
        }
        let width = lines.map(\.0.count).max() ?? 0
        return lines.map { padded($0.0, width) + "  " + $0.1 }.joined(separator: "\n")
    }

    /// As `demo.warren.internal at 169.254.53.53:53, all else from 10.96.0.10:53`.
    private static func resolver(_ dns: DNSReport) -> String {
        let upstreams = dns.upstreams.isEmpty ? "nobody" : dns.upstreams.joined(separator: ", ")
        return "\(dns.domain) at \(dns.resolvers.joined(separator: ", ")), all else from \(upstreams)"
            + (dns.upstreamsDown && !dns.upstreams.isEmpty ? ", which does not answer" : "")
    }

    /// As `192.0.2.1:443 up, home, by tls, 12.5 ms`.
    private static func line(_ relay: RelayReport) -> String {
        let transport = relay.transport.isEmpty ? [] : ["by \(relay.transport)"]
        let trip = relay.rttMs.map { ["\(($0 * 10).rounded() / 10) ms"] } ?? []
        return (["\(relay.address) \(relay.state)", relay.role] + transport + trip).joined(separator: ", ")
    }

    static func table(_ peers: [PeerReport]) -> String {
        let header = ["NAME", "PATH", "ENDPOINT", "RTT", "RECEIVED", "SENT", "HANDSHAKE", "ADDRESSES"]
        let rows = peers.map { peer in
            [
                peer.name, peer.path + (["", "udp"].contains(peer.transport) ? "" : " by \(peer.transport)"),
                peer.endpoint.isEmpty ? "-" : peer.endpoint,
                peer.rttMs.map { "\(($0 * 10).rounded() / 10) ms" } ?? "-", bytes(peer.rxBytes), bytes(peer.txBytes),
                peer.handshakeAgeS.map { "\(Int($0)) s ago" } ?? "never", peer.addresses.joined(separator: " "),
            ]
        }
        let widths = header.indices.map { column in ([header] + rows).map { $0[column].count }.max() ?? 0 }
        return ([header] + rows).map { row in
            zip(row, widths).map { padded($0, $1) }.joined(separator: "  ")
        }.joined(separator: "\n")
    }

    static func padded(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }

    private static func bytes(_ count: UInt64) -> String {
        switch count {
        case ..<1024: "\(count) B"
        case ..<(1 << 20): "\((Double(count) / 102.4).rounded() / 10) KiB"
        case ..<(1 << 30): "\((Double(count) / 104857.6).rounded() / 10) MiB"
        default: "\((Double(count) / 107374182.4).rounded() / 10) GiB"
        }
    }
}
