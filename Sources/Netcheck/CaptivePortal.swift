import Addressing
import Membership
import PortMapping
import Timing

/// Tells whether somebody answers plain HTTP in others' names, as networks do that want a person to log in first.
///
/// Asked are an address that is nobody's (RFC 5737), the hub's TLS port in the clear, and the hub's port 80. Each is one
/// connection and one request.
enum CaptivePortal {
    /// In the networks for documentation, which are never assigned: a packet there is dropped by the first router that
    /// knows that.
    private static let nobodys = [IPv4Address(192, 0, 2, 1), IPv4Address(198, 51, 100, 1), IPv4Address(203, 0, 113, 1)]

    /// The first of them whose network nobody here uses all the same.
    static func nobody(besides known: [IPAddress]) -> IPv4Address? {
        nobodys.first { address in
            guard let network = IPPrefix(.v4(address), length: 24) else { return false }
            return !known.contains(where: network.contains)
        }
    }

    struct Target: Sendable {
        var address: HubAddress
        /// Nobody should answer there at all, so that any page is the portal's.
        var isNobodys: Bool
    }

    static func targets(hub: HubAddress?, known: [IPAddress]) -> [Target] {
        var targets: [Target] = []
        if let nobody = nobody(besides: known), let address = HubAddress(host: nobody.description, port: 80) {
            targets.append(Target(address: address, isNobodys: true))
        }
        if let hub {
            targets.append(Target(address: hub, isNobodys: false))
            if hub.port != 80, let web = HubAddress(host: hub.host, port: 80) {
                targets.append(Target(address: web, isNobodys: false))
            }
        }
        return targets
    }

    /// Where a browser is sent, or who answered; nil when this answer is no portal's.
    ///
    /// A server of the target's own may send to another port or scheme of the same host, say that TLS is needed (400), or
    /// have a page of its own; it does not send elsewhere, nor say that a login is required (511, RFC 6585).
    static func evidence(in response: HTTPResponse, from target: Target) -> String? {
        let location = response.header("location").map(CertificateName.printable)
        switch response.status {
        case 511: return location ?? "\(target.address) says that a login is required"
        case 300..<400:
            guard let location, let host = host(of: location) else { return nil }
            return host == target.address.host.lowercased() && !target.isNobodys ? nil : location
        case 200 where target.isNobodys: return "\(target.address), which is nobody's, has a page"
        default: return nil
        }
    }

    /// In lower case; nil for a reference without a host.
    static func host(of location: String) -> String? {
        let lowercase = location.lowercased()
        guard let scheme = ["http://", "https://"].first(where: lowercase.hasPrefix) else { return nil }
        let authority = lowercase.dropFirst(scheme.utf8.count).prefix { !"/?#".contains($0) }
        let place = authority.split(separator: "@").last ?? ""
        if place.hasPrefix("[") { return String(place.dropFirst().prefix { $0 != "]" }) }
        return String(place.prefix { $0 != ":" })
    }

    /// The evidence of the first target that has some.
    ///
    /// - Parameter known: addresses that are in use, whatever network they are of.
    static func find(hub: HubAddress?, known: [IPAddress]) async -> String? {
        await withTaskGroup(of: String?.self) { group in
            for target in targets(hub: hub, known: known) {
                group.addTask {
                    var probe = StreamProbe(
                        target.address, pin: nil, request: StreamProbe.get("/", host: target.address.host))
                    probe.timeout = .seconds(3)
                    return await probe.run().response.flatMap { evidence(in: $0, from: target) }
                }
            }
            var found: String?
            for await evidence in group { found = found ?? evidence }
            return found
        }
    }
}
