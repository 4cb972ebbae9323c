import Addressing

/// The service of an Internet Gateway Device that makes port mappings, as its description names it (UPnP IGD 1 and 2).
struct IGDService: Equatable, Sendable {
    enum Kind: String, CaseIterable, Sendable {
        // Best first.
        case ip2 = "urn:schemas-upnp-org:service:WANIPConnection:2"
        case ip1 = "urn:schemas-upnp-org:service:WANIPConnection:1"
        case ppp1 = "urn:schemas-upnp-org:service:WANPPPConnection:1"
    }

    var kind: Kind
    var control: GatewayURL

    /// The best service in a device description; nil when there is none on the gateway itself.
    init?(description document: [UInt8], at url: GatewayURL) {
        guard let root = XMLElement(document: document), case .v4(let gateway) = url.endpoint.address else {
            return nil
        }
        let base = root.text("URLBase").flatMap { GatewayURL($0, on: gateway) } ?? url
        let services = root.all("service")
        for kind in Kind.allCases {
            let fitting = services.first { $0.text("serviceType") == kind.rawValue }
            guard let control = fitting?.text("controlURL").flatMap(base.resolve) else { continue }
            (self.kind, self.control) = (kind, control)
            return
        }
        return nil
    }
}

/// The messages of SSDP and SOAP that finding and using such a service takes (UPnP Device Architecture 1.1).
enum UPnP {
    static let ssdpPort: UInt16 = 1900
    static let group = IPv4Address(239, 255, 255, 250)
    static let searchTargets = [
        "urn:schemas-upnp-org:device:InternetGatewayDevice:2", "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
    ]

    static func search(_ target: String, host: Endpoint) -> [UInt8] {
        Array(
            "M-SEARCH * HTTP/1.1\r\nHOST: \(host)\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: \(target)\r\n\r\n".utf8)
    }

    /// Where the gateway's description is, from its answer to a search.
    static func location(in datagram: RawSpan, gateway: IPv4Address) -> GatewayURL? {
        guard datagram.byteCount <= 2048 else { return nil }
        let bytes = (0..<datagram.byteCount).compactMap { datagram.bigEndian(UInt8.self, at: $0) }
        guard case .complete(let response) = HTTPResponse.read(bytes, isEnded: true), response.status == 200,
            ["st", "usn"].compactMap(response.header).contains(where: isGateway)
        else { return nil }
        return response.header("location").flatMap { GatewayURL($0, on: gateway) }
    }

    private static func isGateway(_ name: String) -> Bool {
        let word = "InternetGatewayDevice".utf8
        return name.utf8.indices.contains { name.utf8[$0...].starts(with: word) }
    }

    static func get(_ url: GatewayURL) -> [UInt8] {
        Array(
            """
            GET \(url.path) HTTP/1.1\r\nHost: \(url.endpoint)\r\nConnection: close\r\nUser-Agent: warren UPnP/1.1\r\n\r\n
            """.utf8)
    }

    /// A SOAP call; the arguments hold no character that XML would have escaped.
    static func call(_ service: IGDService, _ action: String, _ arguments: [(String, String)] = []) -> [UInt8] {
        let fields = arguments.map { "<\($0.0)>\($0.1)</\($0.0)>" }.joined()
        let body = """
            <?xml version="1.0"?>\r
            <s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" \
            s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>\
            <u:\(action) xmlns:u="\(service.kind.rawValue)">\(fields)</u:\(action)></s:Body></s:Envelope>\r\n
            """
        return Array(
            """
            POST \(service.control.path) HTTP/1.1\r\nHost: \(service.control.endpoint)\r\nConnection: close\r
            Content-Type: text/xml; charset="utf-8"\r\nContent-Length: \(body.utf8.count)\r
            SOAPAction: "\(service.kind.rawValue)#\(action)"\r\n\r\n\(body)
            """.utf8)
    }

    enum Reply: Equatable {
        /// The output arguments.
        case values([String: String])
        /// UPnP's error code.
        case fault(Int)
        case unusable
    }

    static func reply(_ response: HTTPResponse, to action: String) -> Reply {
        guard let root = XMLElement(document: response.body) else { return .unusable }
        if response.status == 200, let element = root.first("\(action)Response") {
            return .values(
                Dictionary(element.children.map { ($0.name, $0.trimmed) }, uniquingKeysWith: { first, _ in first }))
        }
        return root.first("errorCode").flatMap { Int($0.trimmed) }.map(Reply.fault) ?? .unusable
    }
}
