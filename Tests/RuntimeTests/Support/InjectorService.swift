import Foundation
import Glibc
import Lab

/// `warren-injector` on a node, as a uid of its own, and called as an API server calls it.
final class InjectorService {
    private let node: Node
    private let folder: String
    private let bundle: String
    private var process: ChildProcess
    private static let uid: UInt32 = 65532
    private static let name = "warren-injector.warren-system.svc"
    private static let (listen, health) = ("127.0.0.1:8443", "8444")

    init(on node: Node) throws {
        self.node = node
        folder = node.sandbox.path("injector")
        try makeFolder(folder, mode: 0o700, owner: Self.uid)
        let source = "\(try Programs.folder())/warren-injector"
        try node.sandbox.run("install", "-m", "0755", source, "\(node.image.folder)/warren-injector")
        process = try Self.start(in: folder, on: node)
        try Self.waitReady(process, node)
        // What a cluster has in the webhook's configuration: it stays while the injector comes and goes.
        bundle = node.sandbox.path("injector-ca.crt")
        try writeText(readText("\(folder)/ca.crt"), to: bundle)
    }

    private static func start(in folder: String, on node: Node) throws -> ChildProcess {
        try node.namespace.spawn(
            Plan.unprivileged(uid: uid) + [
                "\(node.image.folder)/warren-injector", "--listen", listen, "--health-port", health, "--tls-dir",
                folder, "--self-made", "--dns-name", name, "--image", ContainerImage.name, "--device", "node",
                "--pull-policy", "Never",
            ], environment: Image.environment(folder: node.image.folder))
    }

    private static func waitReady(_ process: ChildProcess, _ node: Node) throws {
        try waitUntil("warren-injector ready", timeout: 15, every: 0.05) {
            guard process.isRunning else { throw LabError.ended("warren-injector", text: process.standardError) }
            let words = ["curl", "-sf", "--max-time", "2", "http://127.0.0.1:\(health)/readyz"]
            return try node.namespace.result(of: words).succeeded
        }
    }

    func kill() throws {
        process.signal(SIGKILL)
        try process.wait(timeout: 10)
    }

    func restart() throws {
        process = try Self.start(in: folder, on: node)
        try Self.waitReady(process, node)
    }

    /// The pod as it is admitted: with the patch of the injector's answer. Throws when there is no answer, or a refusal: as
    /// `failurePolicy: Fail` has it, there is no pod then.
    func admitted(_ pod: String) throws -> String {
        try node.namespace.run(
            "/usr/bin/python3", "-c", Self.review, Self.name, Self.listen, bundle, input: pod
        )
    }

    private static let review = """
        import base64, copy, http.client, json, socket, ssl, sys, yaml
        name, listen, bundle = sys.argv[1:]
        host, port = listen.split(":")
        pod = yaml.safe_load(sys.stdin)
        request = {"uid": "1", "operation": "CREATE", "namespace": "default", "object": pod,
                   "resource": {"group": "", "version": "v1", "resource": "pods"}}
        context = ssl.create_default_context(cafile=bundle)
        call = http.client.HTTPSConnection(name, int(port), timeout=10)
        call.sock = context.wrap_socket(socket.create_connection((host, int(port)), 10), server_hostname=name)
        call.request("POST", "/inject", json.dumps(
            {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}),
            {"Content-Type": "application/json"})
        response = json.loads(call.getresponse().read())["response"]
        assert response["allowed"] and response["uid"] == "1", response
        for change in json.loads(base64.b64decode(response["patch"])):
            *path, last = [part.replace("~1", "/").replace("~0", "~") for part in change["path"].split("/")[1:]]
            place = pod
            for part in path: place = place[int(part) if isinstance(place, list) else part]
            if isinstance(place, list) and change["op"] == "add":
                place.insert(len(place) if last == "-" else int(last), change["value"])
            elif change["op"] in ("add", "replace"):
                place[int(last) if isinstance(place, list) else last] = change["value"]
            else:
                assert change["op"] == "test", change
        print(json.dumps(pod))
        """
}
