import Lab

/// `warren-injector` on a node, as a uid of its own, and called as an API server calls it.
final class InjectorService {
    private let node: Node
    private let bundle: String
    private let service: Service
    private static let uid: UInt32 = 65532
    private static let name = "warren-injector.warren-system.svc"
    private static let (listen, health) = ("127.0.0.1:8443", "8444")

    init(on node: Node) throws {
        self.node = node
        let folder = node.sandbox.path("injector")
        try makeFolder(folder, mode: 0o700, owner: Self.uid)
        let (source, program) = ("\(try Programs.folder())/warren-injector", "\(node.image.folder)/warren-injector")
        try node.sandbox.run("install", "-m", "0755", source, program)
        service = try Service("warren-injector", in: node.namespace, ready: "http://127.0.0.1:\(Self.health)/readyz") {
            try node.namespace.spawn(
                Plan.unprivileged(uid: Self.uid) + [
                    program, "--listen", Self.listen, "--health-port", Self.health, "--tls-dir", folder, "--self-made",
                    "--dns-name", Self.name, "--image", ContainerImage.name, "--device", "node", "--pull-policy",
                    "Never",
                ], environment: Image.environment(folder: node.image.folder))
        }
        // What a cluster has in the webhook's configuration: it stays while the injector comes and goes.
        bundle = node.sandbox.path("injector-ca.crt")
        try writeText(readText("\(folder)/ca.crt"), to: bundle)
    }

    func kill() throws { try service.kill() }

    func restart() throws { try service.restart() }

    /// The pod as it is admitted: with the patch of the injector's answer. Throws when there is no answer, or a refusal: as
    /// `failurePolicy: Fail` has it, there is no pod then.
    func admitted(_ pod: String) throws -> String {
        try node.namespace.run("/usr/bin/python3", "-c", Self.review, Self.name, Self.listen, bundle, input: pod)
    }

    private static let review = """
        import base64, http.client, json, socket, ssl, sys, yaml
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
