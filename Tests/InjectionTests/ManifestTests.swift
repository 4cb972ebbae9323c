import JSON
import Manifest
import Testing

@testable import Injection

@Suite struct ManifestStreamTests {
    private func read(_ text: String) throws(ManifestError) -> [JSONValue] { try ManifestStream.read(Array(text.utf8)) }

    @Test func `plain scalars mean what kubectl takes them for`() throws {
        let document = try #require(
            try read(
                """
                octal: 0440
                hex: 0x1F
                grouped: 1_000
                negative: -12
                float: 1.50
                yes: on
                no: "on"
                empty:
                tilde: ~
                version: 1.2.3
                time: 12:30:45
                date: 2026-01-01
                name: 0x
                dot: .
                quoted: '0440'
                tagged: !!str 12
                """
            ).first)
        let expected: [(String, JSONValue)] = [
            ("octal", 288), ("hex", 31), ("grouped", 1000), ("negative", -12), ("float", .number("1.5")),
            ("yes", true), ("no", "on"), ("empty", .null), ("tilde", .null), ("version", "1.2.3"),
            ("time", "12:30:45"), ("date", "2026-01-01"), ("name", "0x"), ("dot", "."), ("quoted", "0440"),
            ("tagged", "12"),
        ]
        for (name, value) in expected { #expect(document[name] == value, "\(name)") }
    }

    @Test func `anchors, aliases and merge keys are resolved`() throws {
        let document = try #require(
            try read(
                """
                base: &base { cpu: 1, memory: 2 }
                same: *base
                more: { <<: *base, memory: 3, disk: 4 }
                list: [*base]
                """
            ).first)
        #expect(document["same"] == ["cpu": 1, "memory": 2])
        #expect(document["more"] == ["memory": 3, "disk": 4, "cpu": 1])
        #expect(document["list"]?.elements?.count == 1)
    }

    @Test(arguments: [
        ("a: [", 1), ("a: 1\na: 2\n", 3), ("a: *none\n", 1), ("a: !!binary aGk=\n", 1), ("? [x]\n: y\n", 1),
        ("a: {<<: 5}\n", 1), ("\tx: y", 1),
    ])
    func `what can't be read is refused with its line`(_ text: String, _ line: Int) {
        do {
            _ = try read(text)
            Issue.record("it was read")
        } catch { #expect(abs((error.line ?? 0) - line) <= 1, "\(error)") }
    }

    @Test func `aliases of aliases don't fill the memory`() {
        var text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
        for level in 1...12 {
            let alias = Array(repeating: "*a\(level - 1)", count: 10).joined(separator: ",")
            text += "a\(level): &a\(level) [\(alias)]\n"
        }
        #expect(throws: ManifestError.self) { try read(text) }
    }

    @Test func `what is written reads back the same`() throws {
        let strings = [
            "", " ", "plain words", "true", "Yes", "null", "~", "0440", "1.5", "-", "- x", "a: b", "a #b", "#x", "{x}",
            "two\nlines", "two\nlines\n", "  indented\nlines\n", "trailing space \n", "tab\there", "\u{7}bell", "é🐇",
            "'", "\"", "\\", "@x", "%x", "!x", "&x", "*x", "|", ">", "=", "<<", "2026-01-01", "12:30:45", "---", "...",
            "line\r\nfeed", "\u{85}next", String(repeating: "long ", count: 100), "\n", "\n\n", "$(POD_NAME)",
        ]
        let document: JSONValue = [
            "strings": .array(strings.map(JSONValue.string)),
            "keys": .object(strings.map { JSONValue.Member($0, .string($0)) }),
            "numbers": [0, -1, .number("1.5"), 64738], "flags": [true, false, .null], "empty": [[], [:]],
            "nested": [["a": [["b": [:]]]]],
        ]
        let text = try ManifestStream.yaml([document, ["second": 1]])
        #expect(try read(text) == [document, ["second": 1]])
    }

    @Test(arguments: Shape.all)
    func `an injected pod survives YAML`(_ shape: Shape) throws {
        guard let pod = SidecarInjection(shape.settings).injecting(shape.pod)?.object else { return }
        #expect(try read(try ManifestStream.yaml([pod])) == [pod])
    }

    @Test func `a JSON file is read as JSON`() throws {
        #expect(try read(#" {"a": 1.50, "b": "x"}"#) == [["a": .number("1.50"), "b": "x"]])
        #expect(try read("---\n---\n{a: 1}\n---\n") == [["a": 1]])
    }
}

@Suite struct PodTemplateTests {
    private let injection = SidecarInjection(InjectionSettings(image: "warren:test"))

    @Test(arguments: [
        ("apps/v1", "Deployment", ["spec", "template"]), ("apps/v1", "StatefulSet", ["spec", "template"]),
        ("apps/v1", "DaemonSet", ["spec", "template"]), ("batch/v1", "Job", ["spec", "template"]),
        ("batch/v1", "CronJob", ["spec", "jobTemplate", "spec", "template"]),
    ])
    func `a workload's template gets the sidecar`(_ version: String, _ kind: String, _ path: [String]) throws {
        var template: JSONValue = ["metadata": ["labels": ["app": "x"]], "spec": ["containers": [["name": "x"]]]]
        for name in path.reversed() { template = .object([.init(name, template)]) }
        let object = JSONValue.object(
            [.init("apiVersion", .string(version)), .init("kind", .string(kind))] + (template.members ?? []))
        var result = try #require(injection.injecting(object)).object
        for name in path { result = try #require(result[name]) }
        #expect(result["spec"]?["initContainers"]?.elements?.first?["name"] == "warren")
        #expect(result["metadata"]?["labels"] == ["app": "x"])
        // Once more is once.
        let once = try #require(injection.injecting(object)).object
        let again = try #require(injection.injecting(once))
        #expect(again.verdict.outcome == .untouched("it has the sidecar"))
    }

    @Test func `what makes no pods is none of our business`() {
        #expect(injection.injecting(["apiVersion": "v1", "kind": "Service"]) == nil)
        #expect(injection.injecting(["apiVersion": "serving.knative.dev/v1", "kind": "Deployment"]) == nil)
    }

    @Test func `a plain sidecar keeps out of Jobs`() throws {
        var settings = injection.settings
        settings.style = .plain
        let job: JSONValue = [
            "apiVersion": "batch/v1", "kind": "Job",
            "spec": ["template": ["spec": ["containers": [["name": "x"]], "restartPolicy": "Never"]]],
        ]
        guard case .refused = try #require(SidecarInjection(settings).injecting(job)).verdict.outcome else {
            Issue.record("a Job's pod would never end")
            return
        }
    }
}

/// The applier that `warren inject` uses.
@Suite struct JSONPatchTests {
    @Test func `adds as RFC 6902 says`() throws {
        var patch = JSONPatch()
        patch.add(["a", "0"], 1)
        patch.add(["a", "-"], 3)
        patch.add(["b~/c"], ["d": 1])
        patch.add(["b~/c", "d"], 2)
        #expect(patch.applied(to: ["a": [2]]) == ["a": [1, 2, 3], "b~/c": ["d": 2]])
        #expect(patch.document.elements?[2]["path"] == "/b~0~1c")
        #expect(try PatchApplier.apply(patch.document, to: ["a": [2]]) == patch.applied(to: ["a": [2]]))
    }

    @Test func `a path that leads nowhere is nil`() {
        for path in [["x", "y"], ["a", "2"], ["a", "-1"], ["a", "0", "b"], ["s", "x"]] {
            var patch = JSONPatch()
            patch.add(path, 1)
            #expect(patch.applied(to: ["a": [2], "s": "t"]) == nil, "\(path)")
        }
    }
}
