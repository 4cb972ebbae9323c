import JSON
import Manifest
import TestSupport
import Testing

@Suite struct PodSecurityTests {
    @Test func `everything but the node's agent is within restricted`() throws {
        let workloads = [Manifests.base, Manifests.composed, Manifests.monitoring].flatMap(\.workloads)
        #expect(
            Set(Manifests.base.workloads.map(\.name)) == [
                "warren-hub-init", "warren-hub", "warren-node", "warren-injector",
            ])
        for workload in workloads where workload.name != "warren-node" {
            #expect(PodSecurity.violations(try #require(workload.template)) == [], "\(workload)")
            for container in workload.containers {
                #expect(container["securityContext"]?["readOnlyRootFilesystem"] == true, "\(workload)")
            }
        }
    }

    @Test func `the node's agent has what is written beside it and no more`() throws {
        let node = try Manifests.base.one("DaemonSet", "warren-node")
        #expect(
            Set(PodSecurity.violations(try #require(node.template))) == [
                "hostNetwork", "hostPID", "volume hostPath", "node: privileged", "node: runAsUser 0",
                "node: allowPrivilegeEscalation", "node: runAsNonRoot", "node: capabilities not dropped",
                "node: hostPort", "node: readinessProbe to a host", "node: livenessProbe to a host",
            ])
        #expect(node.containers.first?["securityContext"]?["readOnlyRootFilesystem"] == true)
        #expect(node.podSpec?["automountServiceAccountToken"] == false)
        let places = (node.podSpec?["volumes"]?.elements ?? []).compactMap { $0["hostPath"]?["path"]?.text }
        #expect(places == ["/opt/cni/bin", "/etc/cni/net.d", "/run/warren", "/var/lib/warren"])
    }

    @Test func `a relay on a node is outside by its host ports alone`() throws {
        for workload in Manifests.relay.workloads {
            #expect(Set(PodSecurity.violations(try #require(workload.template))) == ["relay: hostPort"])
        }
        #expect(Manifests.relay.workloads.count == 1)
    }

    @Test(arguments: [0, 1])
    func `a sample is within restricted, before and after the sidecar is added`(_ index: Int) throws {
        let sample = Manifests.samples[index]
        let outcome = try Manifests.run(
            [try Manifests.program("warren"), "inject", "-f", "-", "--device", "node"], input: sample.text)
        #expect(outcome.status == 0, "\(outcome.diagnostics)")
        let injected = try Rendering(parsing: outcome.output)
        #expect(injected.workloads.count == 2)
        for (before, after) in zip(sample.workloads, injected.workloads) {
            #expect(before.podLabels["warren.dev/inject"] == "enabled")
            #expect(before.podSpec?["automountServiceAccountToken"] == false)
            #expect(PodSecurity.violations(try #require(before.template)) == [], "\(before)")
            #expect(PodSecurity.violations(try #require(after.template)) == [], "\(after)")
            #expect(after.containers.count == before.containers.count + 1)
        }
        #expect(try sample.one("Namespace", "warren-demo").labels["pod-security.kubernetes.io/enforce"] == "restricted")
    }

    /// The judge itself: each of these takes a pod out of the profile.
    @Test(arguments: [
        "hostNetwork: true", "hostPID: true", "hostIPC: true", "securityContext: {runAsUser: 0}",
        "securityContext: {seccompProfile: {type: Unconfined}}", "securityContext: {seLinuxOptions: {type: spc_t}}",
        "securityContext: {sysctls: [{name: net.core.somaxconn, value: '1'}]}",
        "volumes: [{name: x, hostPath: {path: /}}]", "volumes: [{name: x, nfs: {server: x, path: /}}]",
        "c: securityContext: {privileged: true}", "c: securityContext: {allowPrivilegeEscalation: true}",
        "c: securityContext: {runAsNonRoot: false}", "c: securityContext: {procMount: Unmasked}",
        "c: securityContext: {capabilities: {drop: [ALL], add: [NET_ADMIN]}}",
        "c: securityContext: {capabilities: {drop: [NET_RAW]}}", "c: securityContext: {}",
        "c: ports: [{containerPort: 80, hostPort: 80}]", "c: livenessProbe: {httpGet: {host: 127.0.0.1, port: 80}}",
    ])
    func `what the profile refuses is seen`(_ change: String) throws {
        let isContainer = change.hasPrefix("c: ")
        let line = isContainer ? String(change.dropFirst(3)) : change
        let key = line.prefix { $0 != ":" }
        var container = ["securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}"]
        var pod = ["securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}"]
        #expect(try Self.violations(pod, container) == [])
        if isContainer {
            container = container.filter { !$0.hasPrefix(key) } + [line]
        } else {
            pod = pod.filter { !$0.hasPrefix(key) } + [line]
        }
        #expect(try !Self.violations(pod, container).isEmpty)
    }

    private static func violations(_ pod: [String], _ container: [String]) throws -> [String] {
        let text =
            "spec:\n" + pod.map { "  \($0)\n" }.joined() + "  containers:\n    - name: app\n"
            + container.map { "      \($0)\n" }.joined()
        return PodSecurity.violations(try #require(try ManifestStream.read(Array(text.utf8)).first))
    }
}
