import Foundation
import Injection
import JSON
import NIOHTTP1
import Testing

@testable import Injector

/// `warren-injector` and `warren inject` as they are run: the built programs, beside the test bundle.
@Suite(.timeLimit(.minutes(2))) struct InjectorCommandTests {
    private static func program(_ name: String) throws -> URL {
        let bundle = try #require(CommandLine.arguments.first { $0.contains(".xctest") })
        let end = try #require(bundle.range(of: ".xctest")).upperBound
        return URL(fileURLWithPath: String(bundle[..<end])).deletingLastPathComponent().appendingPathComponent(name)
    }

    private static func start(_ name: String, _ arguments: [String], input: String = "") throws -> (Process, Pipe, Pipe)
    {
        let process = Process()
        process.executableURL = try program(name)
        process.arguments = arguments
        let (out, error, standardInput) = (Pipe(), Pipe(), Pipe())
        process.standardOutput = out
        process.standardError = error
        process.standardInput = standardInput
        try process.run()
        standardInput.fileHandleForWriting.write(Data(input.utf8))
        try standardInput.fileHandleForWriting.close()
        return (process, out, error)
    }

    private static func run(
        _ name: String, _ arguments: [String], input: String = ""
    ) throws -> (status: Int32, out: String, error: String) {
        let (process, out, error) = try start(name, arguments, input: input)
        let outText = String(decoding: out.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        let errorText = String(decoding: error.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        return (process.terminationStatus, outText, errorText)
    }

    private static let manifest = """
        apiVersion: v1
        kind: Service
        metadata: { name: web }
        ---
        apiVersion: apps/v1
        kind: Deployment
        metadata: { name: web, namespace: shop }
        spec:
          template:
            metadata: { labels: { app: web } }
            spec:
              containers: [{ name: web, image: nginx, securityContext: { privileged: true } }]
        """

    @Test func `warren inject adds the sidecar to what makes pods`() throws {
        let result = try Self.run("warren", ["inject", "-f", "-", "--image", "acme/warren:2"], input: Self.manifest)
        #expect(result.status == 0, "\(result.error)")
        #expect(result.out.contains("kind: Service"))
        #expect(result.out.contains("image: acme/warren:2"))
        #expect(result.out.contains("restartPolicy: Always"))
        #expect(result.error.contains("warning: Deployment/web: container web is privileged"))
        // Its own output stays as it is.
        let again = try Self.run("warren", ["inject", "-f", "-", "--image", "acme/warren:3"], input: result.out)
        #expect(again.status == 0)
        #expect(again.out == result.out)
        #expect(again.error.contains("Deployment/web stays as it is: it has the sidecar"))
        // As JSON, one object with all.
        let json = try Self.run("warren", ["inject", "-f", "-", "--json"], input: Self.manifest)
        let list = try JSONValue(parsing: Array(json.out.utf8))
        #expect(list["kind"] == "List")
        #expect(list["items"]?.elements?.count == 2)
    }

    /// Where the injector is a pod of the cluster, its own servers are the cluster's.
    @Test func `the name servers of this process's resolv.conf are taken when it is told so`() throws {
        let words = ["inject", "-f", "-", "--mesh-domain", "m.warren.internal", "--cluster-dns", "resolv.conf"]
        let result = try Self.run("warren", words, input: Self.manifest)
        let file = (try? String(contentsOfFile: "/etc/resolv.conf", encoding: .utf8)) ?? ""
        let lines = file.split(separator: "\n").map { $0.split(separator: " ") }
        let servers = lines.filter { $0.first == "nameserver" && $0.count > 1 }.prefix(3).map { $0[1] }
        guard !servers.isEmpty else {
            #expect(result.status != 0 && result.error.contains("--cluster-dns resolv.conf"))
            return
        }
        #expect(result.status == 0, "\(result.error)")
        for server in servers { #expect(result.out.contains("--dns-upstream=\(server)")) }
        #expect(result.out.contains("m.warren.internal") && result.out.contains("dnsPolicy: None"))
    }

    @Test(arguments: [
        (["--plain-sidecar"], "postStart"), (["--kubernetes-version", "v1.28.4"], "postStart"),
        (["--device", "warren.dev/tun"], "warren.dev/tun: \"1\""),
        (["--token-secret", "mine"], "name: mine"),
        (["--pull-policy", "Never"], "imagePullPolicy: Never"), (["--memory-limit", "64Mi"], "memory: 64Mi"),
    ])
    func `options say what the sidecar is like`(_ options: [String], _ expected: String) throws {
        let result = try Self.run("warren", ["inject", "-f", "-"] + options, input: Self.manifest)
        #expect(result.status == 0, "\(result.error)")
        #expect(result.out.contains(expected))
    }

    @Test(arguments: [
        (["-f", "/nonexistent"], "", "read /nonexistent"), (["-f", "-"], "a: [", "line"),
        (["-f", "-", "--image", "a b"], "", "--image"), (["-f", "-", "--memory-limit", "lots"], "", "--memory-limit"),
        (["-f", "-", "--kubernetes-version", "2"], "", "--kubernetes-version"),
        (["-f", "-", "--device", "usb"], "", "--device"), (["-f", "-", "--token-secret", "A_B"], "", "--token-secret"),
        (
            ["-f", "-"],
            "{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {hostNetwork: true, containers: []}}",
            "Pod/web: hostNetwork"
        ),
    ])
    func `what can't be is one clear error`(_ arguments: [String], _ input: String, _ expected: String) throws {
        let result = try Self.run("warren", ["inject"] + arguments, input: input)
        #expect(result.status != 0)
        #expect(result.out.isEmpty)
        #expect(result.error.contains(expected), "\(result.error)")
    }

    @Test func `warren-injector serves with certificates of its own, and ends on SIGTERM`() async throws {
        try await Scratch.folder { folder in
            let ports = [Int.random(in: 20000...29999), Int.random(in: 30000...39999)]
            let (process, _, error) = try Self.start(
                "warren-injector",
                [
                    "--listen", "127.0.0.1:\(ports[0])", "--health-port", "\(ports[1])", "--tls-dir", "\(folder)/tls",
                    "--self-made", "--dns-name", ReviewCaller.name, "--drain", "0", "--image", "acme/warren:2",
                ])
            defer { process.terminate() }
            var isReady = false
            for _ in 0..<200 where !isReady {
                try await Task.sleep(nanoseconds: 50_000_000)
                let status = try? await ReviewCaller.with(port: ports[1], bundle: nil) {
                    try await $0(.GET, "/readyz", [])
                }
                isReady = status?.status == 200
            }
            #expect(isReady)
            let bundle = try String(contentsOfFile: "\(folder)/tls/ca.crt", encoding: .utf8)
            let review: JSONValue = [
                "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
                "request": [
                    "uid": "u", "resource": ["group": "", "version": "v1", "resource": "pods"], "operation": "CREATE",
                    "object": ["metadata": ["name": "a\nb"], "spec": ["containers": []]],
                ],
            ]
            let answer = try await ReviewCaller.with(port: ports[0], bundle: bundle) {
                try await $0(.POST, "/inject/namespace", review.serialized)
            }
            // A name that is none; and no line of its own in the log.
            #expect(try JSONValue(parsing: answer.body)["response"]?["allowed"] == false)
            let mode = try FileManager.default.attributesOfItem(atPath: "\(folder)/tls/ring.json")[.posixPermissions]
            #expect(mode as? Int == 0o600)
            process.terminate()
            process.waitUntilExit()
            #expect(process.terminationStatus == 0)
            let log = String(decoding: error.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
            #expect(log.contains("pods ?/a?b refused"), "\(log)")
            #expect(!log.contains("PRIVATE KEY"))
        }
    }

    @Test func `outside a cluster it says what to do`() throws {
        let result = try Self.run("warren-injector", ["--health-port", "0", "--listen", "127.0.0.1:0"])
        #expect(result.status == 1)
        #expect(result.error.contains("KUBERNETES_SERVICE_HOST"))
        #expect(result.error.contains("--tls-dir"))
        let listen = try Self.run("warren-injector", ["--listen", "nowhere", "--tls-dir", "/nonexistent"])
        #expect(listen.status == 1)
    }

    /// What the injector writes into pods is what the sidecar and its probes understand.
    @Test func `the sidecar's command has only options that warrend has`() throws {
        let pod: JSONValue = [
            "metadata": [
                "name": "x", "labels": ["warren.dev/inject": "enabled"],
                "annotations": [
                    "warren.dev/port": "5000", "warren.dev/log-level": "debug", "warren.dev/require": "a,b",
                ],
            ], "spec": ["containers": []],
        ]
        let injection = SidecarInjection(InjectionSettings(image: "i"))
        guard case .injected(let patch) = injection.verdict(on: pod, from: .init(isAskedFor: false)).outcome else {
            Issue.record("not injected")
            return
        }
        let sidecar = try #require(patch.applied(to: pod)?["spec"]?["initContainers"]?.elements?.first)
        let commands = [
            sidecar["command"], sidecar["startupProbe"]?["exec"]?["command"],
            sidecar["livenessProbe"]?["exec"]?["command"],
        ].map { ($0?.elements ?? []).compactMap(\.text) }
        var checked = 0
        for command in commands {
            let program = try #require(command.first)
            let words = command.dropFirst().filter { !$0.hasPrefix("-") }
            let help = try Self.run(program, words + ["--help"])
            #expect(help.status == 0, "\(command)")
            for option in command where option.hasPrefix("--") {
                #expect(help.out.contains(String(option.prefix { $0 != "=" })), "\(option)")
                checked += 1
            }
        }
        #expect(checked == 11)
    }
}
