import Addressing
import TestSupport
import Timing

@testable import PortMapping

/// A gateway on virtual time that speaks what it is told to, and the client before it.
struct FakeGateway {
    static let address = IPv4Address(10, 1, 0, 1)
    static let host = IPv4Address(10, 1, 0, 2)
    static let outside = IPv4Address(203, 0, 113, 11)
    static let delay = Interval.milliseconds(2)

    enum Quirk: Hashable { case onlyPermanent, inUse, permanentBy402, noAnyPort }

    var speaks: Set<MappingProtocol>
    var pcpResult: UInt8 = 0
    var longest: UInt32 = 7200
    var external = outside
    var quirks: Set<Quirk> = []
    var igdVersion = 2
    var location = "http://10.1.0.1:5000/desc.xml"
    var isDead = false
    var started = MonotonicTime.zero
    /// By internal port.
    var held: [MappingProtocol: UInt16] = [:]
    private(set) var log: [String] = []

    private func epoch(_ now: MonotonicTime) -> UInt32 { UInt32(now.since(started).seconds) }

    mutating func reboot(now: MonotonicTime) {
        held = [:]
        started = now
    }

    func announcement(now: MonotonicTime) -> [UInt8] {
        [2, 0x80, 0, 0] + bigEndian(UInt32(0)) + bigEndian(epoch(now)) + [UInt8](repeating: 0, count: 12)
    }

    /// What comes back for a datagram, and from which port.
    mutating func answer(_ bytes: [UInt8], to endpoint: Endpoint, now: MonotonicTime) -> (bytes: [UInt8], port: UInt16)?
    {
        guard !isDead else { return nil }
        if endpoint.port == UPnP.ssdpPort {
            log.append("search")
            guard speaks.contains(.upnp), endpoint.address == .v4(Self.address),
                String(decoding: bytes, as: UTF8.self).contains("InternetGatewayDevice:\(igdVersion)")
            else { return nil }
            let text =
                "HTTP/1.1 200 OK\r\nST: urn:x:InternetGatewayDevice:\(igdVersion)\r\nLocation: \(location)\r\n\r\n"
            return (Array(text.utf8), 1900)
        }
        if bytes[0] == 2 {
            guard speaks.contains(.pcp) else {
                return speaks.contains(.natPMP) ? ([0, 128 + bytes[1], 0, 1] + bigEndian(epoch(now)), 5351) : nil
            }
            return (pcp(bytes, now: now), 5351)
        }
        guard speaks.contains(.natPMP) else {
            let refusal = [2, 0x80 | bytes[1], 0, 1] + bigEndian(UInt32(0)) + bigEndian(epoch(now))
            return speaks.contains(.pcp) ? (refusal + [UInt8](repeating: 0, count: 12), 5351) : nil
        }
        return (natPMP(bytes, now: now), 5351)
    }

    private mutating func pcp(_ bytes: [UInt8], now: MonotonicTime) -> [UInt8] {
        let asked = bytes[4..<8].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        func header(_ result: UInt8, _ lifetime: UInt32) -> [UInt8] {
            [2, 0x80 | bytes[1], 0, result] + bigEndian(lifetime) + bigEndian(epoch(now))
                + [UInt8](repeating: 0, count: 12)
        }
        if bytes[1] == 0 {
            log.append("pcp announce")
            return header(0, 0)
        }
        log.append(asked == 0 ? "pcp delete" : "pcp map")
        guard pcpResult == 0 else { return header(pcpResult, 30) + bytes[24...] }
        held[.pcp] = asked == 0 ? nil : 40_000
        return header(0, min(asked, longest)) + bytes[24..<42] + bigEndian(UInt16(asked == 0 ? 0 : 40_000))
            + [UInt8](repeating: 0, count: 10) + [0xff, 0xff] + external.bytes
    }

    private mutating func natPMP(_ bytes: [UInt8], now: MonotonicTime) -> [UInt8] {
        if bytes[1] == 0 {
            log.append("natpmp address")
            return [0, 128, 0, 0] + bigEndian(epoch(now)) + external.bytes
        }
        let asked = bytes[8..<12].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        log.append(asked == 0 ? "natpmp delete" : "natpmp map")
        held[.natPMP] = asked == 0 ? nil : 40_001
        return [0, 129, 0, 0] + bigEndian(epoch(now)) + bytes[4..<6] + bigEndian(UInt16(asked == 0 ? 0 : 40_001))
            + bigEndian(min(asked, longest))
    }

    mutating func exchange(_ request: [UInt8], to endpoint: Endpoint) -> HTTPResponse? {
        guard !isDead, endpoint == Endpoint(.v4(Self.address), port: 5000) else { return nil }
        let text = String(decoding: request, as: UTF8.self)
        func respond(_ status: Int, _ body: String) -> HTTPResponse? {
            let bytes = Array("HTTP/1.1 \(status) x\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)".utf8)
            guard case .complete(let response) = HTTPResponse.read(bytes, isEnded: true) else { return nil }
            return response
        }
        func fault(_ code: Int) -> HTTPResponse? {
            log.append("upnp fault \(code)")
            return respond(500, "<e><detail><UPnPError><errorCode>\(code)</errorCode></UPnPError></detail></e>")
        }
        func field(_ name: String) -> String {
            text.components(between: "<\(name)>", and: "</\(name)>")
        }
        if text.hasPrefix("GET /desc.xml ") {
            return respond(
                200,
                """
                <root><device><serviceList><service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:\
                \(igdVersion)</serviceType><controlURL>/ctl</controlURL></service></serviceList></device></root>
                """)
        }
        let action = text.components(between: "#", and: "\"")
        switch action {
        case "GetExternalIPAddress":
            return respond(
                200,
                "<r><\(action)Response><NewExternalIPAddress>\(external)</NewExternalIPAddress></\(action)Response></r>"
            )
        case "AddAnyPortMapping", "AddPortMapping":
            if action == "AddAnyPortMapping", quirks.contains(.noAnyPort) { return fault(401) }
            if field("NewLeaseDuration") != "0" {
                if quirks.contains(.onlyPermanent) { return fault(725) }
                if quirks.contains(.permanentBy402) { return fault(402) }
            }
            if quirks.contains(.inUse), field("NewExternalPort") == "51820" {
                if action == "AddPortMapping" { return fault(718) }
                held[.upnp] = 40_002
            } else {
                held[.upnp] = UInt16(field("NewExternalPort"))
            }
            log.append("upnp map \(field("NewLeaseDuration"))")
            let reserved = action == "AddAnyPortMapping" ? "<NewReservedPort>\(held[.upnp] ?? 0)</NewReservedPort>" : ""
            return respond(200, "<r><\(action)Response>\(reserved)</\(action)Response></r>")
        case "DeletePortMapping":
            log.append("upnp delete \(field("NewExternalPort"))")
            held[.upnp] = nil
            return respond(200, "<r><DeletePortMappingResponse/></r>")
        default: return fault(401)
        }
    }
}

extension String {
    /// What is between the first `open` and the next `close`; empty where there is none.
    fileprivate func components(between open: String, and close: String) -> String {
        guard let start = range(of: open), let end = self[start...].dropFirst(open.count).range(of: close) else {
            return ""
        }
        return String(self[start...].dropFirst(open.count)[..<end])
    }
}

extension StringProtocol {
    /// Where `text` begins.
    fileprivate func range(of text: String) -> Index? {
        indices.first { self[$0...].hasPrefix(text) }
    }
}

/// A client before a gateway, on virtual time.
struct MappingRun {
    var gateway: FakeGateway
    var client: GatewayClient
    var now = MonotonicTime.zero + .seconds(1000)
    var events: [MappingAction] = []
    /// Datagrams and connections to anywhere but the gateway and SSDP's group.
    var strays: [Endpoint] = []
    private var arriving: [(at: MonotonicTime, bytes: [UInt8], port: UInt16)] = []
    private var answering: [(at: MonotonicTime, number: Int, response: HTTPResponse?)] = []
    private var random = SeededRandom(seed: 1)

    init(
        _ gateway: FakeGateway, _ purpose: GatewayClient.Purpose = .map,
        _ configuration: GatewayClient.Configuration = .init()
    ) {
        self.gateway = gateway
        client = GatewayClient(
            gateway: FakeGateway.address, host: FakeGateway.host, internalPort: 51820, purpose, configuration, now: now,
            using: &random)
    }

    mutating func run(for time: Interval) {
        let end = now + time
        while true {
            perform(client.poll(now: now))
            let next = min(
                client.nextTimer, arriving.map(\.at).min() ?? .never, answering.map(\.at).min() ?? .never)
            if next > end { break }
            now = max(now, next)
            for packet in arriving where packet.at <= now { receive(packet.bytes, port: packet.port) }
            arriving.removeAll { $0.at <= now }
            for answer in answering where answer.at <= now {
                perform(client.exchanged(answer.number, answer.response, now: now, using: &random))
            }
            answering.removeAll { $0.at <= now }
        }
        now = end
    }

    mutating func receive(_ bytes: [UInt8], port: UInt16, from address: IPv4Address = FakeGateway.address) {
        perform(unsafe client.receive(bytes.span.bytes, from: Endpoint(.v4(address), port: port), now: now))
    }

    mutating func stop() {
        perform(client.stop())
    }

    private mutating func perform(_ actions: [MappingAction]) {
        for action in actions {
            switch action {
            case .send(let bytes, let endpoint):
                if endpoint.address != .v4(FakeGateway.address), endpoint.address != .v4(UPnP.group) {
                    strays.append(endpoint)
                }
                if let answer = gateway.answer(bytes, to: endpoint, now: now) {
                    arriving.append((now + FakeGateway.delay, answer.bytes, answer.port))
                }
            case .exchange(let number, let endpoint, let request):
                if endpoint.address != .v4(FakeGateway.address) { strays.append(endpoint) }
                answering.append((now + FakeGateway.delay, number, gateway.exchange(request, to: endpoint)))
            case .gained, .lost: events.append(action)
            }
        }
    }
}
