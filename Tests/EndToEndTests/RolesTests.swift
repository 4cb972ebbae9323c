import Control
import Foundation
import Lab
import Testing

extension EndToEnd {
    /// Authority, directory and relay as three hubs that trust each other with nothing but public keys.
    @Suite struct Roles {
        @Test func `a pair joins, meets by the relay and goes direct where the roles run apart`() throws {
            try withMesh { mesh in
                try mesh.startHubs()
                try expectHealth(mesh)
                let capture = try Capture(in: mesh.underlay.hub, link: "eth0", filter: ["udp", "port", "3478"])
                let (a, b) = try mesh.startPods()
                let address = try mesh.virtualIPv6(of: b)
                let direct = try mesh.waitDirect(a, to: address)
                #expect(direct.value.endpoint == "\(Plan.siteB.publicAddress):\(Plan.tunnelPort)")
                let relayed = try capture.stop().compactMap { WireDatagram($0) }
                #expect(relayed.contains { $0.kind == .initiation && $0.source == Plan.siteA.publicAddress })
                #expect(relayed.contains { $0.kind == .initiation && $0.destination == Plan.siteB.publicAddress })
                figure("direct, roles apart", "after \(milliseconds(direct.value.directAfterMs ?? .nan))")
            }
        }

        @Test func `no role has a private key of another`() throws {
            try withMesh { mesh in
                try mesh.startHubs()
                _ = try mesh.startPods()
                var keys: [(role: HubRole, name: String, text: String)] = []
                for role in HubRole.allCases {
                    let folder = mesh.folder(of: role)
                    let mode = try mesh.sandbox.run("stat", "-c", "%a %u", folder)
                    #expect(mode == "700 \(role.uid)\n")
                    for name in names(in: folder) where name.hasSuffix(".key") {
                        keys.append((role, name, readText("\(folder)/\(name)")))
                    }
                    // Another role's uid cannot even list it.
                    let other = HubRole.allCases.first { $0 != role }
                    let uid = try #require(other).uid
                    #expect(try !mesh.sandbox.result(of: Plan.unprivileged(uid: uid) + ["ls", folder]).succeeded)
                }
                #expect(keys.filter { $0.name == "authority.key" }.map(\.role) == [.authority])
                #expect(keys.filter { $0.name == "tls.key" }.count == 3)
                #expect(keys.allSatisfy { $0.text.count > 40 })
                #expect(Set(keys.map(\.text)).count == keys.count)
                for key in keys {
                    for role in HubRole.allCases where role != key.role {
                        #expect(try holders(of: key.text, in: mesh.folder(of: role)) == [])
                    }
                    let own = mesh.folder(of: key.role)
                    #expect(try holders(of: key.text, in: own) == [key.name], "the control")
                }
            }
        }

        @Test(.timeLimit(.minutes(3)))
        func `what is left works without the authority, and then without the directory`() throws {
            try withMesh { mesh in
                try mesh.startHubs()
                let (a, b) = try mesh.startPods()
                let c = try mesh.addPod("pod-c", site: Plan.siteB)
                try mesh.startSidecar(c, token: try mesh.token("--name", "pod-c"))
                try mesh.waitReady(c)
                let (toB, toC) = (try mesh.virtualIPv6(of: b), try mesh.virtualIPv6(of: c))
                try mesh.waitDirect(a, to: toB)

                try mesh.killHub(.authority)
                let known = try a.ping(toB, count: 40)
                #expect(known.lost == 0)
                // Nobody has talked to pod-c yet: it is looked up, and met by the relay.
                #expect(try mesh.peer(of: a, at: toC) == nil)
                let capture = try Capture(in: mesh.underlay.hub, link: "eth0", filter: ["udp", "port", "3478"])
                let first = try a.ping(toC, count: 40)
                #expect(first.sent == 40)
                #expect(first.lost == 0)
                let relayed = try capture.stop().compactMap { WireDatagram($0) }
                #expect(relayed.contains { $0.kind == .initiation && $0.source == Plan.siteA.publicAddress })
                try mesh.waitDirect(a, to: toC)
                figure("authority dead", "the first packet to a new peer is answered after \(first.first ?? .nan) ms")

                try mesh.killHub(.directory)
                for address in [toB, toC] {
                    let report = try a.ping(address, count: 40)
                    #expect(report.sent == 40)
                    #expect(report.lost == 0)
                }
                // The relay alone carries what has no direct path any more.
                let ping = try a.startPing(toB)
                defer { ping.stop() }
                try mesh.underlay.separateSites()
                let start = Clock.wall
                let back = try waitUntil("an answer by the relay", timeout: 20) {
                    PingReport.arrivals(in: ping.standardOutput).first { $0 > start + 0.1 }
                }.value
                #expect(back - start <= 10)
                #expect(try mesh.peer(of: a, at: toB)?.path == "relay")
                figure("authority and directory dead", "by the relay after \(fixed(back - start, 2)) s")

                try mesh.startHub(.directory)
                try mesh.startHub(.authority)
                let d = try mesh.addPod("pod-d", site: Plan.siteA)
                try mesh.startSidecar(d, token: try mesh.token("--name", "pod-d"))
                try mesh.waitReady(d)
            }
        }

        /// Each hub says that it has its own role, and no other.
        private func expectHealth(_ mesh: Mesh) throws {
            for role in HubRole.allCases {
                let health = try mesh.underlay.hub.run("curl", "-ksf", "https://\(role.control)/healthz")
                for other in HubRole.allCases {
                    #expect(health.contains("\"\(other)\":\"\(other == role ? "on" : "off")\""), "\(health)")
                }
            }
        }

        /// The names of the files in `folder` that contain the key, as its file has it or as bytes.
        private func holders(of text: String, in folder: String) throws -> [String] {
            let lines: [Substring] = text.split(separator: "\n")
            let line = lines.max { $0.count < $1.count }.map { String($0) }
            let needles = [line.map { Data($0.utf8) }, line.flatMap { Data(base64Encoded: $0) }].compactMap { $0 }
            return names(in: folder).filter { name in
                let bytes = FileManager.default.contents(atPath: "\(folder)/\(name)") ?? Data()
                return needles.contains { bytes.range(of: $0) != nil }
            }
        }
    }
}
