import Foundation
import Glibc

/// A Kubernetes API server, as far as a hub asks one: reviews of tokens, and pods, both as a scenario says. It runs where
/// the hub does, with TLS by an authority of its own.
package final class APIServer {
    package static let port = 6443

    private let mesh: Mesh
    private let folder: String
    private var process: ChildProcess?
    /// By token, and by NAMESPACE/NAME.
    private var reviews: [String: Any] = [:]
    private var pods: [String: Any] = [:]

    /// What a hub is started with to find it.
    package var environment: [String: String] {
        ["KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "\(Self.port)"]
    }
    /// The hub's own service account, as the kubelet mounts it.
    package var accountFolder: String { "\(folder)/account" }

    package init(in mesh: Mesh) throws {
        self.mesh = mesh
        folder = mesh.sandbox.path("api-server")
        try makeFolder(folder)
        try makeFolder("\(folder)/account")
        try mesh.sandbox.run(
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
            "1",
            "-subj", "/CN=kube-apiserver", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "\(folder)/tls.key",
            "-out", "\(folder)/tls.crt")
        try writeText(readText("\(folder)/tls.crt"), to: "\(accountFolder)/ca.crt")
        try writeText("hub-account", to: "\(accountFolder)/token")
        try writeText("warren-system", to: "\(accountFolder)/namespace")
        try writeText(Self.program, to: "\(folder)/api-server.py")
        try save()
    }

    /// Starts it; returns when it answers.
    package func start() throws {
        process = try mesh.underlay.hub.spawn(["python3", "\(folder)/api-server.py", folder, "\(Self.port)"])
        try waitUntil("API server", timeout: 10, every: 0.05) { [mesh] in
            try mesh.underlay.hub.result(of: ["curl", "-ks", "https://127.0.0.1:\(Self.port)/version"]).succeeded
        }
    }

    package func stop() { _ = process?.stop() }

    /// A pod that runs, and the token that the kubelet gives it.
    ///
    /// - Parameter isNamed: whether the review says the node, as newer clusters do.
    package func addPod(
        _ name: String, namespace: String, account: String, node: String, isNamed: Bool = true
    ) throws -> String {
        let uid = UUID().uuidString.lowercased()
        let token = Self.token(namespace: namespace, pod: name)
        pods["\(namespace)/\(name)"] = [
            "kind": "Pod", "apiVersion": "v1",
            "metadata": ["name": name, "namespace": namespace, "uid": uid, "labels": ["app": name]],
            "spec": ["serviceAccountName": account, "nodeName": node], "status": ["phase": "Running"],
        ]
        var extra = [
            "authentication.kubernetes.io/pod-name": [name], "authentication.kubernetes.io/pod-uid": [uid],
        ]
        if isNamed { extra["authentication.kubernetes.io/node-name"] = [node] }
        reviews[token] = [
            "authenticated": true, "audiences": ["warren"],
            "user": ["username": "system:serviceaccount:\(namespace):\(account)", "extra": extra],
        ]
        try save()
        return token
    }

    /// A token as it looks, that no server has made.
    package static func token(
        namespace: String, pod: String, audience: String = "warren", lifetime: Int = 3600
    ) -> String {
        let end = Int(Date().timeIntervalSince1970) + lifetime
        let claims =
            "{\"aud\":[\"\(audience)\"],\"exp\":\(end),\"kubernetes.io\":{\"namespace\":\"\(namespace)\","
            + "\"pod\":{\"name\":\"\(pod)\"}},\"sub\":\"system:serviceaccount:\(namespace):default\"}"
        let signature = (0..<32).map { _ in UInt8.random(in: 0...255) }
        return [Data("{\"alg\":\"RS256\",\"kid\":\"k\"}".utf8), Data(claims.utf8), Data(signature)].map {
            $0.base64EncodedString().replacingOccurrences(of: "+", with: "-")
                .replacingOccurrences(of: "/", with: "_").replacingOccurrences(of: "=", with: "")
        }.joined(separator: ".")
    }

    /// Renamed into its place: no request sees half of it.
    private func save() throws {
        let state = try JSONSerialization.data(withJSONObject: ["reviews": reviews, "pods": pods])
        try writeText(String(decoding: state, as: UTF8.self), to: "\(folder)/state.new")
        guard unsafe rename("\(folder)/state.new", "\(folder)/state.json") == 0 else {
            throw LabError.system("rename state.json", errno: errno)
        }
    }

    private static let program = """
        import http.server, json, ssl, sys
        folder, port = sys.argv[1], int(sys.argv[2])
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            def log_message(self, *words): pass
            def state(self):
                with open(folder + "/state.json") as file: return json.load(file)
            def answer(self, code, value):
                body = json.dumps(value).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            def fail(self, code, reason):
                self.answer(code, {"kind": "Status", "status": "Failure", "reason": reason, "code": code,
                                   "message": reason})
            def allowed(self):
                if self.headers.get("Authorization") == "Bearer hub-account": return True
                self.fail(401, "Unauthorized")
            def do_GET(self):
                if self.path == "/version": return self.answer(200, {"major": "1", "minor": "33"})
                if not self.allowed(): return
                parts = self.path.split("/")
                pod = self.state()["pods"].get(parts[4] + "/" + parts[6]) if len(parts) == 7 else None
                self.answer(200, pod) if pod else self.fail(404, "NotFound")
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if not self.allowed(): return
                if self.path != "/apis/authentication.k8s.io/v1/tokenreviews": return self.fail(404, "NotFound")
                status = self.state()["reviews"].get(body["spec"]["token"])
                if not status: status = {"user": {}, "error": "invalid bearer token"}
                self.answer(201, {"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "status": status})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder + "/tls.crt", folder + "/tls.key")
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.serve_forever()
        """
}
