import Netlink
import TestSupport

extension ScratchNamespace {
    func link(_ name: String) throws -> Link? {
        try run {
            var socket = try RouteSocket()
            return try socket.link(named: name)
        }
    }
}
