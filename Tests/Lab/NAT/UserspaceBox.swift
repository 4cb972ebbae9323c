import Foundation
import Glibc
import NATBox

/// The userspace NAT at work in a router, on a TUN of its own.
final class UserspaceBox {
    /// The JSON that `warren-natbox` reads.
    private struct Configuration: Encodable {
        var behaviour: BoxBehaviour
        var outward: Weather
        var inward: Weather
        var seed: UInt64
    }

    static let link = "box"
    private let process: ChildProcess

    /// Starts it in `place`; returns once its link is up.
    init(
        in place: Namespace, programs: String, _ behaviour: BoxBehaviour, outward: Weather = Weather(),
        inward: Weather = Weather(), seed: UInt64 = 1
    ) throws {
        let path = place.sandbox.path("natbox.json")
        let configuration = Configuration(behaviour: behaviour, outward: outward, inward: inward, seed: seed)
        try writeText(String(decoding: JSONEncoder().encode(configuration), as: UTF8.self), to: path)
        let process = try place.spawn(["\(programs)/warren-natbox", Self.link, path])
        self.process = process
        try waitUntil("the userspace NAT's link", timeout: 10) {
            guard process.isRunning else { throw LabError.ended("warren-natbox", text: process.standardError) }
            return try place.result(of: ["ip", "link", "set", Self.link, "up"]).succeeded
        }
    }

    /// Every mapping is forgotten.
    func reboot() { process.signal(SIGUSR1) }

    func stop() { process.stop() }

    deinit { process.signal(SIGKILL) }
}
