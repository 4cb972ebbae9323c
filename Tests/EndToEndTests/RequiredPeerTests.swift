import Control
import Lab
import Testing

extension EndToEnd {
    /// `warrend sidecar --require PEER`: ready means that the peer has proved who it is.
    @Suite struct RequiredPeers {
        @Test func `a sidecar is not ready before its required peer has joined and shaken hands`() throws {
            try withMesh { mesh in
                try mesh.startHub()
                let a = try mesh.addPod("pod-a", site: Plan.siteA)
                let b = try mesh.addPod("pod-b", site: Plan.siteB)
                try mesh.startSidecar(a, token: try mesh.token("--name", "pod-a"), options: ["--require", "pod-b"])
                try waitUntil("pod-a accepted", timeout: 15) { try mesh.status(of: a).hub == "accepted" }
                // Longer than a joining pod takes, and than the sidecar's own attempts are apart.
                let end = Clock.now + 3
                while Clock.now < end {
                    let answer = try mesh.warren("ready", in: a)
                    #expect(answer.status != 0)
                    #expect(answer.text.contains("not ready: waiting for the handshake of pod-b"))
                    try #require(try mesh.status(of: a).waitingFor == ["pod-b"])
                }

                try mesh.startSidecar(b, token: try mesh.token("--name", "pod-b"))
                try mesh.waitReady(b)
                let seconds = try mesh.waitReady(a)
                #expect(try mesh.status(of: a).waitingFor == [])
                let peer = try #require(try mesh.peer(of: a, at: try mesh.virtualIPv6(of: b)))
                #expect(peer.name == "pod-b")
                #expect(try a.ping(try mesh.virtualIPv6(of: b), count: 10).lost == 0)
                figure("required peer", "ready \(fixed(seconds, 3)) s after the peer")
            }
        }

        @Test func `two sidecars that require each other both become ready`() throws {
            try withMesh { mesh in
                try mesh.startHub()
                let a = try mesh.addPod("pod-a", site: Plan.siteA)
                let b = try mesh.addPod("pod-b", site: Plan.siteB)
                let start = Clock.now
                for (pod, peer) in [(a, "pod-b"), (b, "pod-a")] {
                    let token = try mesh.token("--name", pod.name)
                    try mesh.startSidecar(pod, token: token, options: ["--require", peer])
                }
                for pod in [a, b] {
                    try mesh.waitReady(pod)
                    #expect(try mesh.status(of: pod).waitingFor == [])
                }
                figure("mutual requirement", "both ready after \(fixed(Clock.now - start, 2)) s")
            }
        }

        @Test func `a required peer that is another agent's name is never satisfied by somebody else`() throws {
            try withMesh { mesh in
                try mesh.startHub()
                let a = try mesh.addPod("pod-a", site: Plan.siteA)
                let b = try mesh.addPod("pod-b", site: Plan.siteB)
                try mesh.startSidecar(a, token: try mesh.token("--name", "pod-a"), options: ["--require", "pod-x"])
                try mesh.startSidecar(b, token: try mesh.token("--name", "pod-b"))
                try mesh.waitReady(b)
                try waitUntil("pod-a accepted", timeout: 15) { try mesh.status(of: a).hub == "accepted" }
                #expect(try a.ping(try mesh.virtualIPv6(of: b), count: 10).lost == 0)
                let answer = try mesh.warren("ready", in: a)
                #expect(answer.status != 0)
                #expect(answer.text.contains("pod-x"))
            }
        }
    }
}
