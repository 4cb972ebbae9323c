import Netlink
package import Tun

/// Proves that a descriptor that somebody sent is that of our own interface, whoever sent it.
///
/// The name alone proves nothing: any process may make a TUN of that name in another namespace. So the descriptor's
/// carrier is taken away and given back, and each time the kernel is asked in this namespace: a foreign TUN's carrier
/// moves nothing here. Only who holds our interface could imitate it, and one queue is held by one process.
package enum CarrierProof {
    /// Returns when `tun` is `name` in the calling thread's network namespace.
    package static func verify(_ tun: borrowing TunDevice, is name: String) throws(HandoverError) {
        guard tun.name == name else { throw .foreign("it is \(tun.name ?? "deleted") instead of \(name)") }
        do {
            var socket = try RouteSocket()
            for isOn in [false, true] {
                do { try tun.setCarrier(isOn) } catch { throw HandoverError.foreign("\(error)") }
                guard let link = try socket.link(named: name), link.tun != nil, link.hasCarrier == isOn else {
                    throw HandoverError.foreign("its carrier is not that of \(name) here")
                }
            }
        } catch let error as HandoverError { throw error } catch { throw .system("\(error)") }
    }
}
