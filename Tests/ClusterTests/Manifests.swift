import Foundation
import JSON
import Manifest
import TestSupport
import Testing

/// What the folders of manifests mean, as kubectl's kustomize renders them.
enum Manifests {
    static let root = String(#filePath.split(separator: "/").dropLast(3).reduce("") { $0 + "/" + $1 })

    /// The namespace of all that is ours.
    static let namespace = "warren-system"

    static let base = Rendering("manifests")
    static let relay = Rendering("manifests/overlays/relay")
    static let monitoring = Rendering("manifests/overlays/monitoring")
    /// With every component, as a person's own kustomization has them.
    static let composed = Rendering(components: ["k3s", "gke", "public"])
    static let samples = ["http", "udp"].map { Rendering(file: "manifests/samples/\($0).yaml") }

    static func text(_ path: String) throws -> String {
        try String(contentsOfFile: "\(root)/\(path)", encoding: .utf8)
    }

    /// Runs a program of the machine's own.
    static func run(_ words: [String], input: String = "") throws -> ChildProcess.Outcome {
        var environment = ["PATH": "/usr/sbin:/usr/bin:/sbin:/bin"]
        // A program that is not static finds the toolchain's libraries where this one does.
        environment["LD_LIBRARY_PATH"] = ProcessInfo.processInfo.environment["LD_LIBRARY_PATH"]
        return try ChildProcess(words[0], Array(words.dropFirst()), environment: environment, input: input).wait()
    }

    /// Our programs are beside the test bundle, or in WARREN_BIN_DIR.
    static func program(_ name: String) throws -> String {
        if let folder = ProcessInfo.processInfo.environment["WARREN_BIN_DIR"] { return "\(folder)/\(name)" }
        let bundle = try #require(CommandLine.arguments.first { $0.contains(".xctest") })
        let end = try #require(bundle.range(of: ".xctest")).upperBound
        return URL(fileURLWithPath: String(bundle[..<end])).deletingLastPathComponent().path + "/\(name)"
    }
}

/// The objects of one folder or file.
struct Rendering {
    let text: String
    let objects: [ClusterObject]
    /// Why there are none.
    let failure: String?

    init(_ folder: String) { self.init { try Self.rendered("\(Manifests.root)/\(folder)") } }

    init(file: String) { self.init { try Manifests.text(file) } }

    /// The base with components, as a person's own kustomization has them.
    init(components: [String]) {
        self.init {
            let folder = try ScratchFolder()
            let up = String(repeating: "../", count: folder.path.split(separator: "/").count)
            let manifests = "\(up)\(Manifests.root.dropFirst())/manifests"
            let lines =
                [
                    "apiVersion: kustomize.config.k8s.io/v1beta1", "kind: Kustomization",
                    "resources: [\(manifests)/base]",
                ]
                + ["components:"] + components.map { "  - \(manifests)/components/\($0)" }
            try folder.write(lines.joined(separator: "\n"), to: "kustomization.yaml")
            return try withExtendedLifetime(folder) { try Self.rendered(folder.path) }
        }
    }

    init(parsing text: String) throws {
        self.text = text
        objects = try ManifestStream.read(Array(text.utf8)).map(ClusterObject.init)
        failure = nil
    }

    private init(text: String, objects: [ClusterObject], failure: String?) {
        self.text = text
        self.objects = objects
        self.failure = failure
    }

    private init(_ source: () throws -> String) {
        do {
            self = try Rendering(parsing: source())
        } catch {
            self = Rendering(text: "", objects: [], failure: "\(error)")
        }
    }

    private static func rendered(_ folder: String) throws -> String {
        let outcome = try Manifests.run(["\(Manifests.root)/.ci/render", folder])
        guard outcome.status == 0 else { throw ChildProcess.Failure(description: outcome.diagnostics) }
        return outcome.output
    }

    func all(_ kind: String) -> [ClusterObject] { objects.filter { $0.kind == kind } }

    func one(_ kind: String, _ name: String) throws -> ClusterObject {
        try #require(objects.first { $0.kind == kind && $0.name == name }, "\(kind) \(name) \(failure ?? "")")
    }

    /// Those that make pods.
    var workloads: [ClusterObject] { objects.filter { $0.podSpec != nil } }
}

/// An object of the API.
struct ClusterObject: CustomStringConvertible {
    let value: JSONValue

    init(_ value: JSONValue) { self.value = value }

    var kind: String { value["kind"]?.text ?? "" }
    var metadata: JSONValue? { value["metadata"] }
    var name: String { metadata?["name"]?.text ?? "" }
    var namespace: String? { metadata?["namespace"]?.text }
    var spec: JSONValue? { value["spec"] }
    var description: String { "\(kind) \(name)" }

    var template: JSONValue? { kind == "Pod" ? value : spec?["template"] }
    var podSpec: JSONValue? {
        ["Pod", "Deployment", "StatefulSet", "DaemonSet", "Job"].contains(kind) ? template?["spec"] : nil
    }
    var podLabels: [String: String] { template?["metadata"]?["labels"]?.texts ?? [:] }
    var labels: [String: String] { metadata?["labels"]?.texts ?? [:] }

    var containers: [JSONValue] {
        ["initContainers", "containers"].flatMap { podSpec?[$0]?.elements ?? [] }
    }
    /// Names of the ports of all containers.
    var ports: [String: Int64] {
        var ports: [String: Int64] = [:]
        for port in containers.flatMap({ $0["ports"]?.elements ?? [] }) {
            if let name = port["name"]?.text { ports[name] = port["containerPort"]?.integer }
        }
        return ports
    }
    var runsForEver: Bool { podSpec != nil && kind != "Job" }
}

extension JSONValue {
    /// An object whose members are texts.
    var texts: [String: String] {
        Dictionary((members ?? []).compactMap { member in member.value.text.map { (member.name, $0) } }) { $1 }
    }

    /// Whether a label selector matches (LabelSelector: `matchLabels` and `matchExpressions`). An empty one matches all.
    func selects(_ labels: [String: String]) -> Bool {
        let isEqual = (self["matchLabels"]?.texts ?? [:]).allSatisfy { labels[$0.key] == $0.value }
        return isEqual
            && (self["matchExpressions"]?.elements ?? []).allSatisfy { expression in
                guard let key = expression["key"]?.text else { return false }
                let values = (expression["values"]?.elements ?? []).compactMap(\.text)
                switch expression["operator"]?.text {
                case "In": return labels[key].map(values.contains) ?? false
                case "NotIn": return labels[key].map { !values.contains($0) } ?? true
                case "Exists": return labels[key] != nil
                case "DoesNotExist": return labels[key] == nil
                default: return false
                }
            }
    }
}
