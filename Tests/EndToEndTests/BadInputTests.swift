import Control
import Foundation
import Glibc
import Lab
import Testing

extension EndToEnd {
    /// What is refused, with a clear error, and with nothing half done.
    @Suite struct BadInput {
        /// Starts a sidecar that must be refused: it says `words`, and is not ready. Ends it.
        private func expectRefusal(
            _ mesh: Mesh, _ pod: Pod, token: String, name: String? = nil, saying words: [String],
            _ location: SourceLocation = #_sourceLocation
        ) throws {
            let process = try mesh.startSidecar(pod, token: token, name: name)
            defer { process.stop() }
            _ = try? waitUntil("the refusal", timeout: 6) {
                let text = process.standardError.lowercased()
                return words.contains { text.contains($0) }
            }
            let text = process.standardError
            let isSaid = words.contains { text.lowercased().contains($0) }
            #expect(isSaid, "expected one of \(words) in: \(text)", sourceLocation: location)
            #expect(try mesh.warren("ready", in: pod).status != 0, sourceLocation: location)
            #expect(!text.contains("Fatal error"), sourceLocation: location)
            let fault = text.split(separator: "\n").last { line in words.contains { line.lowercased().contains($0) } }
            figure("refused", String(fault ?? "nothing"))
        }

        @Test func `a wrong token`() throws {
            try withMesh { mesh in
                try mesh.startHub()
                let pod = try mesh.addPod("pod-a", site: Plan.siteA)
                try expectRefusal(mesh, pod, token: "no token at all", saying: ["join token"])
                try expectRefusal(mesh, pod, token: "", saying: ["token"])
                // Right in form, for this hub, and never given out: the secret of a token of another hub's making.
                let good = try mesh.token("--name", "pod-a")
                try expectRefusal(mesh, pod, token: Self.withOtherSecret(good), saying: ["not known here"])
                // The refusals took nothing from the good one.
                try mesh.startSidecar(pod, token: good)
                try mesh.waitReady(pod)
            }
        }

        @Test func `an expired token, and one that is used up`() throws {
            try withMesh { mesh in
                try mesh.startHub()
                let a = try mesh.addPod("pod-a", site: Plan.siteA)
                let b = try mesh.addPod("pod-b", site: Plan.siteB)
                let expired = try mesh.token("--name", "pod-a", "--expires", "1s")
                sleep(2)
                try expectRefusal(mesh, a, token: expired, saying: ["token has expired"])
                let once = try mesh.token("--name", "pod-*", "--uses", "1")
                try mesh.startSidecar(a, token: once)
                try mesh.waitReady(a)
                try expectRefusal(mesh, b, token: once, saying: ["used up"])
            }
        }

        @Test func `an unreachable hub, and it joins once the hub is there`() throws {
            try withMesh { mesh in
                try mesh.startHub()
                let token = try mesh.token("--name", "pod-a")
                let pod = try mesh.addPod("pod-a", site: Plan.siteA)
                try mesh.stopHub()
                let process = try mesh.startSidecar(pod, token: token)
                try waitUntil("the complaint", timeout: 10) { process.standardError.contains("7443") }
                #expect(process.isRunning)
                #expect(try mesh.warren("ready", in: pod).status != 0)
                try mesh.startHub()
                let waited = try mesh.waitReady(pod, timeout: 30)
                figure("hub came up", "ready after \(fixed(waited, 2)) s")
            }
        }

        @Test func `a name that another agent holds`() throws {
            try withMesh { mesh in
                try mesh.startHub()
                let a = try mesh.addPod("pod-a", site: Plan.siteA)
                let b = try mesh.addPod("pod-b", site: Plan.siteB)
                let token = try mesh.token("--name", "pod-*", "--uses", "5")
                try mesh.startSidecar(a, token: token)
                try mesh.waitReady(a)
                try expectRefusal(mesh, b, token: token, name: "pod-a", saying: ["name pod-a is held by another"])
                #expect(try mesh.status(of: a).ready)
                // The holder leaves; then the name is free.
                let left = try mesh.warren("leave", in: a)
                #expect(left.succeeded, "\(left.text)")
                try mesh.startSidecar(b, token: token, name: "pod-a")
                try mesh.waitReady(b)
            }
        }

        @Test func `an address that another agent holds`() throws {
            try withMesh { mesh in
                try mesh.startHub()
                let a = try mesh.addPod("pod-a", site: Plan.siteA)
                let b = try mesh.addPod("pod-b", site: Plan.siteB)
                let token = try mesh.token("--name", "pod-*", "--uses", "5")
                try mesh.startSidecar(a, token: token)
                try mesh.waitReady(a)
                let (taken, own) = (try mesh.virtualIPv6(of: a), try mesh.virtualIPv6(of: b))
                try b.run("ip", "address", "delete", "\(own)/128", "dev", Plan.interface)
                try b.run("ip", "address", "add", "\(taken)/128", "dev", Plan.interface, "nodad")
                try expectRefusal(mesh, b, token: token, saying: ["address \(taken) is held by another"])
                #expect(try mesh.status(of: a).addresses.contains(taken))
            }
        }

        @Test func `a name that the token does not allow`() throws {
            try withMesh { mesh in
                try mesh.startHub()
                let pod = try mesh.addPod("pod-a", site: Plan.siteA)
                let token = try mesh.token("--name", "builder-*")
                try expectRefusal(mesh, pod, token: token, name: "admin", saying: ["does not allow the name admin"])
            }
        }

        @Test func `an address outside the token's ranges`() throws {
            try withMesh { mesh in
                try mesh.startHub()
                let pod = try mesh.addPod("pod-a", site: Plan.siteA)
                let token = try mesh.token("--range", "fd77:6172:7265:ffff::/64")
                try expectRefusal(mesh, pod, token: token, saying: ["outside the mesh's or the token's ranges"])
            }
        }

        @Test func `an interface that is missing, and a state folder that others can read`() throws {
            try withMesh { mesh in
                try mesh.startHub()
                let pod = try mesh.addPod("pod-a", site: Plan.siteA)
                let token = try mesh.token()
                try pod.run("chmod", "755", Pod.stateFolder)
                try expectRefusal(mesh, pod, token: token, saying: [Pod.stateFolder])
                try pod.run("chmod", "700", Pod.stateFolder)
                try pod.run("ip", "link", "delete", Plan.interface)
                try expectRefusal(mesh, pod, token: token, saying: [Plan.interface])
            }
        }

        /// The token with the last characters before its end exchanged for others of its alphabet.
        private static func withOtherSecret(_ token: String) -> String {
            var characters = Array(token)
            for index in characters.indices.suffix(12).dropLast(2) {
                characters[index] = characters[index] == "a" ? "b" : "a"
            }
            return String(characters)
        }
    }
}
