import Foundation
import Lab
import Testing

extension Runtimes {
    /// What is shipped: both images, under podman and containerd.
    @Suite(.serialized) struct ImageTests {
        /// As the manifests run it.
        private static let restricted = ["--read-only", "--cap-drop=all", "--security-opt=no-new-privileges"]

        @Test func `every program starts under podman and containerd, from images with nothing else in them`() throws {
            try withNode { node in
                let containerd = try Containerd(on: node, conflist: Conflist(), programs: false)
                let images = try ShippedImages(on: node)
                for (name, programs) in ShippedImages.programs {
                    try expectNothingElse(in: name, programs, images)
                    try expectConfiguration(of: name, images)
                    let archive = "\(Node.folder)/shipped.tar"
                    try node.run("podman", "save", "-q", "-o", archive, name, timeout: 120)
                    try containerd.importImage(archive)
                    try node.run("rm", archive)
                    for program in programs {
                        // The plugin has no options: without a command it says what it is.
                        let words = program == "warren-cni" ? [program] : [program, "--help"]
                        let podman = try node.result(
                            of: ["podman", "run", "--rm", "--network=none"] + Self.restricted + [name] + words)
                        #expect(podman.status == 0 && podman.text.contains("arren"), "\(program): \(podman.text)")
                        let other = try containerd.runOnce(name, words)
                        #expect(other.status == 0 && other.text.contains("arren"), "\(program): \(other.text)")
                    }
                    for shell in ["sh", "/bin/sh", "bash", "busybox"] {
                        let outcome = try node.result(
                            of: ["podman", "run", "--rm", "--network=none"] + Self.restricted + [
                                name, shell, "-c", "true",
                            ])
                        #expect(outcome.status == 127, "\(shell) in \(name): \(outcome.text)")
                    }
                }
                try expectNoPrivilege(node)
            }
        }

        @Test func `two pods as the injector makes them, from the shipped image, reach each other`() throws {
            try withNode { node in
                let containerd = try Containerd(on: node, conflist: .primaryAlone, programs: true)
                let agent = try NodeAgent(on: node, confFolder: Containerd.networks)
                try containerd.waitForPlugin()
                _ = try ShippedImages(on: node)
                let archive = "\(Node.folder)/shipped.tar"
                try node.run("podman", "save", "-q", "-o", archive, ShippedImages.sidecar, timeout: 120)
                try containerd.importImage(archive)
                try node.run("rm", archive)
                let hub = try HubService(beside: node)
                let kubelet = Kubelet(containerd)
                let names = ["pod-a", "pod-b"]
                try kubelet.printingLogs(of: names, agent: agent) {
                    let start = Clock.now
                    for name in names { try kubelet.run(InjectedPod.make(name, token: hub.token(name), on: node)) }
                    for name in names { try kubelet.waitReady(name) }
                    figure("two injected pods are ready within", (Clock.now - start).milliseconds)
                    try kubelet.expectPage(from: "pod-a", to: "pod-b")
                    try kubelet.expectPage(from: "pod-b", to: "pod-a")
                    let sidecars = node.processes("warrend")
                    #expect(sidecars.count == 2)
                    for pid in sidecars {
                        let status = node.text("/proc/\(pid)/status")
                        let uid = "\(Plan.sidecarUID)"
                        for line in [
                            "Uid:\t\(uid)\t\(uid)\t\(uid)\t\(uid)", "CapEff:\t0000000000000000",
                            "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2",
                        ] { #expect(status.contains(line), "\(status)") }
                    }
                }
                for name in names { try kubelet.remove(name) }
                try expectNothingLeft(on: node)
            }
        }

        @Test func `what a node fetches is within its bounds, and its list of parts is in it`() throws {
            try withNode { node in
                _ = try Podman(on: node, conflist: Conflist())
                let images = try ShippedImages(on: node)
                // The one image is upon the other: what a node has of that, it does not fetch again.
                let layers = try images.compressedLayers(
                    of: ShippedImages.warren, by: ["zstd -q -19 -T2 -c", "gzip -c"])
                #expect(layers.count == 2 && layers.allSatisfy { $0.count == 2 && $0.allSatisfy { $0 > 1_000_000 } })
                for (name, count) in [(ShippedImages.sidecar, 1), (ShippedImages.warren, 2)] {
                    #expect(try images.layers(of: name) == Array(images.layers(of: ShippedImages.warren).prefix(count)))
                    let lower = layers.prefix(count)
                    let size = lower.map { $0[0] }.reduce(0, +)
                    let common = lower.map { $0[1] }.reduce(0, +)
                    figure("\(name), zstd layers", "\(size / 1000) kB (gzip \(common / 1000) kB)")
                    #expect(size <= ShippedImages.bounds[name, default: 0])
                    try expectParts(of: name, images)
                }
                // The plugin is copied to nodes that may have none of its libraries.
                if images.isBuiltFromSource {
                    try node.run(
                        "sh", "-euc",
                        "podman export $(podman create \(ShippedImages.sidecar)) | tar -xO usr/local/bin/warren-cni >/tmp/cni"
                    )
                    let loader = try node.result(of: ["ldd", "/tmp/cni"])
                    #expect(loader.text.contains("not a dynamic executable"), "\(loader.text)")
                }
            }
        }

        /// Programs, libraries and a few texts: no shell, no package manager, nothing that changes who runs it.
        private func expectNothingElse(in name: String, _ programs: [String], _ images: ShippedImages) throws {
            let files = try images.files(of: name).filter { !$0.mode.hasPrefix("d") }
            let executables = files.filter {
                $0.mode.contains("x") && !$0.path.contains(".so") && $0.mode.hasPrefix("-")
            }
            // What the runtime puts over it is in an exported container too.
            let own = executables.filter { !["/.dockerenv", "/run/.containerenv"].contains($0.path) }
            #expect(Set(own.map(\.path)) == Set(programs.map { "/usr/local/bin/\($0)" }))
            for file in files {
                #expect(!file.mode.contains("s") && !file.mode.contains("t"), "\(file)")
                #expect(!file.mode.dropFirst(7).contains("w") || file.mode.hasPrefix("l"), "\(file)")
            }
            let places = ["/lib/", "/lib64/", "/usr/local/bin/", "/usr/share/", "/var/lib/dpkg/status.d/", "/etc/"]
            for file in files where file.mode.hasPrefix("-") {
                let isRuntimes = ["/dev/", "/proc/", "/sys/", "/run/"].contains { file.path.hasPrefix($0) }
                #expect(isRuntimes || places.contains { file.path.hasPrefix($0) }, "\(file)")
            }
        }

        private func expectConfiguration(of name: String, _ images: ShippedImages) throws {
            let config = try images.inspect(name)
            #expect(config["User"] as? String == "\(Plan.sidecarUID):\(Plan.sidecarUID)")
            #expect(config["Env"] as? [String] == ["PATH=/usr/local/bin"])
            let labels = config["Labels"] as? [String: String] ?? [:]
            for label in ["title", "description", "licenses", "version", "revision"] {
                #expect(labels["org.opencontainers.image.\(label)"]?.isEmpty == false, "\(label)")
            }
            #expect(labels["dev.warren.tested-architectures"] == "amd64")
        }

        /// The injector serves as the deployment has it: its uid, no capability, and nothing to write but its folder.
        private func expectNoPrivilege(_ node: Node) throws {
            try node.run(
                "podman", "run", "-d", "--name", "served", "--network=none", "--user=65532:65532", "--read-only",
                "--cap-drop=all", "--security-opt=no-new-privileges",
                "--mount=type=tmpfs,destination=/tls,tmpfs-mode=1777",
                ShippedImages.warren, "warren-injector", "--listen=127.0.0.1:8443", "--tls-dir=/tls", "--self-made")
            let pid = try waitUntil("the injector", timeout: 20) { () throws -> String? in
                let pid = try node.run("podman", "inspect", "--format", "{{.State.Pid}}", "served")
                    .trimmingCharacters(in: .whitespacesAndNewlines)
                let log = try node.result(of: ["podman", "logs", "served"]).text
                return pid != "0" && !log.isEmpty ? pid : nil
            }.value
            let status = node.text("/proc/\(pid)/status")
            for line in ["Uid:\t65532\t65532\t65532\t65532", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"] {
                #expect(status.contains(line), "\(status)")
            }
            try node.run("podman", "kill", "served")
            try node.run("podman", "rm", "-f", "served")
        }

        /// SPDX 2.3: the members that its schema wants, references that lead somewhere, and all that is known to be in it.
        private func expectParts(of name: String, _ images: ShippedImages) throws {
            let path = try #require((try images.inspect(name)["Labels"] as? [String: String])?["dev.warren.sbom"])
            let text = try images.file(path, of: name)
            let document = try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
            #expect(document["spdxVersion"] as? String == "SPDX-2.3")
            #expect(document["dataLicense"] as? String == "CC0-1.0")
            #expect(document["SPDXID"] as? String == "SPDXRef-DOCUMENT")
            #expect((document["name"] as? String)?.isEmpty == false)
            #expect((document["documentNamespace"] as? String)?.hasPrefix("https://") == true)
            let creation = try #require(document["creationInfo"] as? [String: Any])
            #expect((creation["created"] as? String)?.wholeMatch(of: /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ/) != nil)
            #expect((creation["creators"] as? [String])?.allSatisfy { $0.hasPrefix("Tool: ") } == true)
            let packages = try #require(document["packages"] as? [[String: Any]])
            var identities: Set = ["SPDXRef-DOCUMENT"]
            for package in packages {
                let identity = try #require(package["SPDXID"] as? String)
                #expect(identity.wholeMatch(of: /SPDXRef-[A-Za-z0-9.\-]+/) != nil, "\(identity)")
                #expect(identities.insert(identity).inserted, "\(identity) twice")
                for key in ["name", "versionInfo", "downloadLocation", "licenseDeclared", "copyrightText", "supplier"] {
                    #expect((package[key] as? String)?.isEmpty == false, "\(identity) has no \(key)")
                }
                let reference = (package["externalRefs"] as? [[String: String]])?.first
                #expect(
                    reference?["referenceType"] == "purl" && reference?["referenceLocator"]?.hasPrefix("pkg:") == true)
            }
            for relationship in document["relationships"] as? [[String: String]] ?? [] {
                for key in ["spdxElementId", "relatedSpdxElement"] {
                    #expect(identities.contains(relationship[key] ?? ""), "\(relationship)")
                }
            }
            let names = Set(packages.compactMap { $0["name"] as? String })
            #expect(names.isSuperset(of: ["swift", "swift-nio", "swift-nio-ssl", "swift-log", "libc6", "libsodium23"]))
            #expect(names.contains("grdb.swift") == (name == ShippedImages.warren))
            // Each library in the image is of a package in the list.
            let states = try images.files(of: name).map(\.path).filter { $0.hasPrefix("/var/lib/dpkg/status.d/lib") }
            #expect(!states.isEmpty && Set(states.map { String($0.dropFirst(23)) }).isSubset(of: names))
        }
    }
}
