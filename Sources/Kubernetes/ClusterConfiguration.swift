import Glibc
import Linux

/// Where the API server is, and how to prove who we are: what each pod finds in its service account's folder.
package struct ClusterConfiguration: Sendable {
    package static let folder = "/var/run/secrets/kubernetes.io/serviceaccount"

    package var host: String
    package var port: Int
    /// PEM: who may have signed the API server's certificate.
    package var authorities: String
    /// The kubelet renews it in place, so that it is read anew for each call.
    package var tokenFile: String
    package var namespace: String

    package init(host: String, port: Int, authorities: String, tokenFile: String, namespace: String) {
        self.host = host
        self.port = port
        self.authorities = authorities
        self.tokenFile = tokenFile
        self.namespace = namespace
    }

    /// From the environment of a pod.
    package static func inCluster(
        folder: String = ClusterConfiguration.folder, environment: (String) -> String? = Self.variable
    ) throws(KubernetesError) -> ClusterConfiguration {
        guard let host = environment("KUBERNETES_SERVICE_HOST"), !host.isEmpty,
            let port = environment("KUBERNETES_SERVICE_PORT").flatMap({ Int($0) })
        else {
            throw .configuration(
                "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: this is no pod of a cluster")
        }
        return ClusterConfiguration(
            host: host, port: port, authorities: try read("\(folder)/ca.crt"), tokenFile: "\(folder)/token",
            namespace: trimmed(try read("\(folder)/namespace")))
    }

    package func token() throws(KubernetesError) -> String {
        let token = Self.trimmed(try Self.read(tokenFile))
        // A line break would end the header that it is put in.
        guard !token.isEmpty, token.utf8.allSatisfy({ (0x21...0x7e).contains($0) }) else {
            throw .configuration("\(tokenFile): not a token")
        }
        return token
    }

    private static func read(_ path: String) throws(KubernetesError) -> String {
        do {
            let bytes = try FileDescriptor(open: path, O_RDONLY).readToEnd(limit: 1 << 20)
            return String(decoding: bytes, as: UTF8.self)
        } catch { throw .configuration("\(path): \(error); is the service account's token mounted?") }
    }

    private static func trimmed(_ text: String) -> String {
        var text = text[...]
        while text.last?.isWhitespace == true { text = text.dropLast() }
        while text.first?.isWhitespace == true { text = text.dropFirst() }
        return String(text)
    }

    package static func variable(_ name: String) -> String? {
        unsafe getenv(name).map { unsafe String(cString: $0) }
    }
}
