import Control
import Foundation
import Glibc
import Lab
import Testing

extension EndToEnd {
    /// A gateway that forwards ports on request, and what the agent behind it makes of that.
    @Suite struct PortMappings {
        /// Each destination gets another random port, and only it is let in: two of these can't be crossed by guessing.
        private static let hardRouter = Plan.homeRouter.replacingOccurrences(
            of: "masquerade", with: "masquerade fully-random")

        @Test func `two agents behind random NATs stay on the relay where no gateway maps ports`() throws {
            try withMesh { mesh in
                for site in Plan.sites { try mesh.underlay.router(of: site).load(rules: Self.hardRouter) }
                let (a, b) = try mesh.startPair()
                let address = try mesh.virtualIPv6(of: b)
                let report = try a.ping(address, count: 150, interval: 0.02)
                #expect(report.lost == 0)
                #expect(try mesh.peer(of: a, at: address)?.path == "relay")
            }
        }

        @Test func `two agents behind random NATs meet directly once one gateway speaks PCP`() throws {
            try withMesh { mesh in
                for site in Plan.sites { try mesh.underlay.router(of: site).load(rules: Self.hardRouter) }
                let gateway = try Self.startGateway(mesh, Plan.siteA)
                let (a, b) = try mesh.startPair()
                let mapped = try waitUntil("a mapped port", timeout: 10) {
                    let status = try mesh.status(of: a)
                    return status.portMapped.isEmpty ? nil : status.portMapped
                }
                #expect(mapped.value.hasPrefix("\(Plan.siteA.publicAddress):"))
                let address = try mesh.virtualIPv6(of: b)
                let direct = try mesh.waitDirect(a, to: address)
                figure("by a mapped port", "direct after \(milliseconds(direct.value.directAfterMs ?? .nan))")
                #expect(try mesh.status(of: b).portMapped == "")
                #expect(try mesh.warren("status", in: a).standardOutput.contains("forwarded from \(mapped.value)"))
                try Self.stop(a, mesh)
                try waitUntil("the mapping's deletion", timeout: 5) {
                    gateway.standardOutput.contains("\"delete\"")
                }
            }
        }

        @Test func `the sidecar looks at its network for whoever asks`() throws {
            try withMesh { mesh in
                let gateway = try Self.startGateway(mesh, Plan.siteA)
                defer { gateway.stop() }
                let (a, _) = try mesh.startPair()
                let output = try mesh.warren("netcheck", "--json", in: a)
                let report = try JSONDecoder().decode(NetcheckReport.self, from: Data(output.standardOutput.utf8))
                #expect(report.gateway == Plan.siteA.insideGateway)
                #expect(report.ipv4?.udp == true)
                #expect(report.ipv4?.mapped.first?.hasPrefix("\(Plan.siteA.publicAddress):") == true)
                #expect(report.hub?.isReachable == true)
                #expect(report.relays.first?.udp.first?.isReachable == true)
                #expect(report.portMapping.first?.state == "found")
                #expect(report.problems == [])
                #expect(report.seconds < 5)
                let page = try mesh.warren("netcheck", in: a).standardOutput
                #expect(page.contains("PCP found"))
                let status = try mesh.status(of: a)
                #expect(!status.nat.isEmpty)
            }
        }

        private static func startGateway(_ mesh: Mesh, _ site: Plan.Site) throws -> ChildProcess {
            let process = try mesh.underlay.router(of: site).spawn([
                "python3", "\(Repository.folder)/Tests/Lab/Responders/pcp.py", "--listen", site.insideGateway,
                "--external", site.publicAddress, "--wan", "wan",
            ])
            try waitUntil("the gateway ready", timeout: 10) {
                guard process.isRunning else { throw LabError.ended("the gateway", text: process.standardError) }
                return process.standardOutput.contains("ready")
            }
            return process
        }

        private static func stop(_ pod: Pod, _ mesh: Mesh) throws {
            let process = try mesh.sidecar(of: pod)
            process.signal(SIGTERM)
            #expect(try process.wait(timeout: 10) == 0)
        }
    }
}
