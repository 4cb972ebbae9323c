import Foundation
import Lab
import Testing

/// What a command in a container left behind.
struct ContainerAnswer {
    let status: Int
    let standardOutput: String
    let standardError: String

    var succeeded: Bool { status == 0 }
    var text: String { [standardOutput, standardError].filter { !$0.isEmpty }.joined(separator: "\n") }
}

/// What the scenarios ask of a container runtime, whichever it is.
protocol PodRuntime {
    var node: Node { get }
    func execute(_ words: [String], in container: String, of pod: String) throws -> ContainerAnswer
    func isRunning(_ container: String, of pod: String) throws -> Bool
    func log(of container: String, of pod: String) throws -> String
    /// Of a container that has ended.
    func exitStatus(of container: String, of pod: String) throws -> Int
}

extension PodRuntime {
    private func busybox(_ words: String..., in container: String, of pod: String) throws -> ContainerAnswer {
        try execute(["/bin/busybox"] + words, in: container, of: pod)
    }

    /// Waits until the pod's sidecar says that it is ready, as the manifest's startup probe does.
    func waitReady(_ pod: String, timeout: Double = 20) throws {
        let probe = ["warren", "--control=/run/warren/control.sock", "ready"]
        try waitUntil("\(pod) ready", timeout: timeout, every: 0.1) {
            if try execute(probe, in: PodTemplate.sidecar, of: pod).succeeded { return true }
            guard try isRunning(PodTemplate.sidecar, of: pod) else {
                throw LabError.ended("sidecar of \(pod)", text: try log(of: PodTemplate.sidecar, of: pod))
            }
            return false
        }
    }

    /// What the sidecars and the agent said, should `body` throw.
    func printingLogs(of pods: [String], agent: NodeAgent?, _ body: () throws -> Void) throws {
        func printAll() {
            for pod in pods {
                let text = (try? log(of: PodTemplate.sidecar, of: pod)) ?? "none"
                print("log of \(pod)'s sidecar:\n\(text.suffix(3000))")
            }
            if let agent { print("log of warren-node:\n\(agent.log.suffix(3000))") }
        }
        do { try body() } catch {
            printAll()
            throw error
        }
    }

    /// The addresses on `warren0`, as the application sees them.
    func meshAddresses(of pod: String) throws -> (ipv6: String, ipv4: String) {
        let text = try busybox(
            "ip", "-o", "address", "show", "dev", Plan.interface, in: PodTemplate.application, of: pod
        )
        .standardOutput
        func address(_ family: String) throws -> String {
            let words = text.split(whereSeparator: \.isWhitespace).map(String.init)
            guard let index = words.firstIndex(of: family), let bare = words[index + 1].split(separator: "/").first
            else {
                throw LabError.unexpected("no \(family) address of \(pod): \(text)")
            }
            return String(bare)
        }
        return (try address("inet6"), try address("inet"))
    }

    /// An unmodified client in one pod gets the page of an unmodified server in another, by both families.
    func expectPage(from client: String, to server: String) throws {
        let addresses = try meshAddresses(of: server)
        for host in ["[\(addresses.ipv6)]", addresses.ipv4] {
            let url = "http://\(host):\(ContainerImage.pagePort)/page"
            let output = try execute(
                ["/bin/curl", "-sS", "--max-time", "10", url], in: PodTemplate.application, of: client)
            try #require(output.standardOutput == ContainerImage.page, "\(client) → \(url): \(output.text)")
        }
    }

    /// The sidecar's container is what Pod Security calls restricted, asked from inside.
    func expectNoPrivilege(_ pod: String) throws {
        for container in [PodTemplate.sidecar, PodTemplate.application] {
            let uid = container == PodTemplate.sidecar ? "\(Plan.sidecarUID)" : "65532"
            let status = try busybox("cat", "/proc/1/status", in: container, of: pod).standardOutput
            let lines = Dictionary(
                status.split(separator: "\n").map { line in
                    let words = line.split(whereSeparator: { " \t:".contains($0) }).map(String.init)
                    return (words.first ?? "", words.dropFirst().joined(separator: " "))
                }, uniquingKeysWith: { first, _ in first })
            #expect(lines["Name"] == (container == PodTemplate.sidecar ? "warrend" : "busybox"))
            #expect(lines["Uid"] == [uid, uid, uid, uid].joined(separator: " "))
            for set in ["CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"] {
                #expect(lines[set] == "0000000000000000", "\(pod) \(container) \(set)")
            }
            #expect(lines["NoNewPrivs"] == "1" && lines["Seccomp"] == "2", "\(pod) \(container): \(status)")
            let written = try busybox("touch", "/written", in: container, of: pod)
            #expect(!written.succeeded && written.text.contains("Read-only file system"), "\(written.text)")
        }
        let mounts = try busybox("cat", "/proc/mounts", in: PodTemplate.sidecar, of: pod).standardOutput
        #expect(mounts.contains("tmpfs /run/warren tmpfs"), "keys must be in memory: \(mounts)")
    }

    func hasDeviceNode(_ pod: String) throws -> Bool {
        try busybox("test", "-e", "/dev/net/tun", in: PodTemplate.sidecar, of: pod).succeeded
    }
}
