import JSON
import Testing

@testable import Injection

@Suite struct MetricsPortTests {
    private func sidecar(_ annotations: [(String, JSONValue)], port: UInt16?, drain: Int? = nil) throws -> JSONValue {
        let pod: JSONValue = [
            "apiVersion": "v1", "kind": "Pod",
            "metadata": [
                "name": "x", "labels": ["warren.dev/inject": "enabled"],
                "annotations": .object(annotations.map { JSONValue.Member($0.0, $0.1) }),
            ], "spec": ["containers": [["name": "app"]]],
        ]
        let settings = InjectionSettings(image: "i", metricsPort: port, drainSeconds: drain)
        let injected = try #require(SidecarInjection(settings).injecting(pod)).object
        return try #require(injected["spec"]?["initContainers"]?.elements?.first)
    }

    private func words(_ sidecar: JSONValue) -> [String] { (sidecar["command"]?.elements ?? []).compactMap(\.text) }

    @Test func `with a port the kubelet asks by HTTP, and Prometheus finds it by its name`() throws {
        let sidecar = try sidecar([], port: 19586, drain: 25)
        #expect(sidecar["ports"] == [["name": "warren-metrics", "containerPort": 19586]])
        #expect(sidecar["livenessProbe"]?["httpGet"] == ["path": "/livez", "port": "warren-metrics"])
        #expect(sidecar["readinessProbe"]?["httpGet"] == ["path": "/readyz", "port": "warren-metrics"])
        #expect(sidecar["livenessProbe"]?["exec"] == nil)
        #expect(words(sidecar).contains("--metrics-listen=[::]:19586") && words(sidecar).contains("--drain=25"))
    }

    @Test func `a pod may choose another port, or none`() throws {
        let other = try sidecar([("warren.dev/metrics-port", "9999")], port: 19586)
        #expect(other["ports"]?.elements?.first?["containerPort"] == 9999)
        for sidecar in [try sidecar([("warren.dev/metrics-port", "0")], port: 19586), try sidecar([], port: nil)] {
            #expect(sidecar["ports"] == nil && sidecar["readinessProbe"] == nil)
            #expect(sidecar["livenessProbe"]?["exec"]?["command"]?.elements?.last == "live")
            #expect(!words(sidecar).contains { $0.hasPrefix("--metrics-listen") })
        }
    }

    @Test(arguments: ["80", "x", "65536", "-1", ""])
    func `what is no port is refused`(_ text: String) {
        let pod: JSONValue = [
            "metadata": [
                "name": "x", "labels": ["warren.dev/inject": "enabled"],
                "annotations": ["warren.dev/metrics-port": .string(text)],
            ], "spec": ["containers": []],
        ]
        let verdict = SidecarInjection(InjectionSettings(image: "i")).verdict(on: pod, from: .init(isAskedFor: false))
        guard case .refused(let message) = verdict.outcome else {
            Issue.record("not refused: \(text)")
            return
        }
        #expect(message.contains("warren.dev/metrics-port"))
    }
}
