import Addressing
import Testing
import Timing

@testable import Membership

@Suite struct AgentServiceTests {
    @Test func `names are those of services, ports and transports are the three`() {
        for text in ["http/tcp/8080", "a/udp/1", "x-1/sctp/65535", "abcdefghijklmno/tcp/443"] {
            #expect(AgentService(text)?.description == text)
        }
        for text in [
            "", "http", "http/tcp", "http/tcp/", "http/tcp/0", "http/tcp/65536", "http/tcp/080", "http/tcp/+80",
            "http/TCP/80", "http/icmp/80", "HTTP/tcp/80", "-a/tcp/80", "a-/tcp/80", "a--b/tcp/80", "80/tcp/80",
            "a_b/tcp/80", "a.b/tcp/80", "abcdefghijklmnop/tcp/80", "/tcp/80", "a/tcp/80/", "ä/tcp/80",
        ] { #expect(AgentService(text) == nil, "\(text)") }
    }

    private func announcement(_ services: [AgentService], relays: Int = 1) throws -> Announcement {
        let late = WallTime(seconds: 9_999_999_999)
        return try Announcement(
            identity: try Fixture.identity(7), sequence: 9_999_999_999, expires: late,
            keys: [.init(key: Fixture.pin, notBefore: late, expires: late)],
            relays: try (0..<relays).map { _ in
                .init(
                    id: try Fixture.identity(7).id,
                    endpoint: Endpoint(.v6(IPv6Address(high: .max - 1, low: .max - 1)), port: 65535))
            }, services: services)
    }

    @Test func `an announcement tells of them, and is what it was without`() throws {
        let services = [AgentService("http/tcp/8080")!, AgentService("http/tcp/8081")!, AgentService("dns/udp/53")!]
        let text = try announcement(services).text
        let read = try Announcement(
            verifying: text, identityKey: try Fixture.identity(7).publicKey, now: WallTime(seconds: 9_999_999_000))
        #expect(read.services == services)
        let plain = try announcement([])
        let payload = Base64.decodeURL(String(plain.text.split(separator: ".")[1])).map {
            String(decoding: $0, as: UTF8.self)
        }
        #expect(plain.services.isEmpty && payload?.contains("services") == false)
    }

    @Test func `as many as are allowed fit the datagram with all relays, and no more are`() throws {
        let services = (0..<9).map { AgentService("abcdefghijklm\(10 + $0)/sctp/65535")! }
        let full = try announcement(Array(services.prefix(AgentService.limit)), relays: 3)
        #expect(full.text.utf8.count <= 1100, "\(full.text.utf8.count)")
        #expect(throws: MembershipError.oversized(what: "services", limit: 8, got: 9)) {
            try announcement(services)
        }
    }

    @Test func `what a later version says is passed over`() throws {
        let plain = try announcement([])
        let payload = String(
            decoding: Base64.decodeURL(String(plain.text.split(separator: ".")[1])) ?? [], as: UTF8.self)
        let more = payload.dropLast() + #","services":["http/tcp/80","quic/quic/1",7,{"a":1},"dns/udp/53"]}"#
        let header = String(
            decoding: Base64.decodeURL(String(plain.text.split(separator: ".")[0])) ?? [], as: UTF8.self)
        let text = Fixture.jws(header: header, payload: String(more), signedBy: try Fixture.identity(7))
        let read = try Announcement(
            verifying: text, identityKey: try Fixture.identity(7).publicKey, now: WallTime(seconds: 9_999_999_000))
        #expect(read.services.map(\.description) == ["http/tcp/80", "dns/udp/53"])
    }
}
