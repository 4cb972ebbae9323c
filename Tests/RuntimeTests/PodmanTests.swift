import Lab
import Testing

extension Runtimes {
    @Suite(.serialized) struct PodmanTests {
        /// With the device node the kernel lets the sidecar attach as the interface's owner; without it, and with nothing
        /// else in the container either, the node's agent hands the descriptor over.
        @Test(arguments: [true, false])
        func `two restricted pods of kube play reach each other by IPv6 and IPv4, and go without a trace`(
            device: Bool
        ) throws {
            try withNode { node in
                let podman = try Podman(on: node, conflist: device ? Conflist(witness: true) : .primaryAlone)
                let agent = try device ? nil : NodeAgent(on: node, confFolder: Podman.networks)
                try ContainerImage.build(on: node)
                let hub = try HubService(beside: node)
                let template = try PodTemplate(node.sandbox)
                let names = ["pod-a", "pod-b"]
                let pods = try names.map {
                    try template.pod($0, token: hub.token($0), device: device, on: node)
                }
                try podman.printingLogs(of: names, agent: agent) {
                    for pod in pods { try podman.play(pod) }
                    for name in names {
                        try podman.waitReady(name)
                        #expect(try podman.hasDeviceNode(name) == device)
                        try podman.expectNoPrivilege(name)
                    }
                    try podman.expectPage(from: "pod-a", to: "pod-b")
                    try podman.expectPage(from: "pod-b", to: "pod-a")
                }
                for pod in pods { try podman.down(pod) }
                try expectNothingLeft(on: node)
                if device {
                    // podman calls DEL once a pod, with everything that it knows.
                    let deletions = try Witness.calls(on: node).filter { $0.verb == "DEL" }
                    #expect(deletions.map(\.hasPrevious) == [true, true])
                }
            }
        }
    }
}
