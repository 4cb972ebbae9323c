import Addressing
import Netlink

extension Attachment {
    /// Refuses a mesh whose ranges somebody else uses already, as far as it can be seen from the host: the addresses
    /// that the plugins before us gave, and the host's own. The pod's are looked at inside it (`PodInterface`).
    func refuseOverlaps(_ settings: Settings, _ previous: Result?) throws(CNIError) {
        for address in previous?.addresses ?? [] {
            try settings.refuseOverlap(with: address.prefix, of: "the previous result")
        }
        var links: [Link] = []
        var suspects: [Address] = []
        do throws(NetlinkError) {
            var socket = try RouteSocket()
            suspects = try socket.addresses().filter { address in
                settings.ranges.contains { $0.length > 0 && $0.overlaps(address.prefix) }
            }
            if !suspects.isEmpty { links = try socket.links() }
        } catch {
            throw .kernel(error.description)
        }
        for suspect in suspects {
            let link = links.first { $0.index == suspect.linkIndex }
            // An agent on the host is in the mesh too: its TUN has an address of it.
            guard link?.tun == nil else { continue }
            try settings.refuseOverlap(with: suspect.prefix, of: "the host's \(link?.name ?? "interface")")
        }
    }
}
