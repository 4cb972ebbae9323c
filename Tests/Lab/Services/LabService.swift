import Glibc

/// What stands in the way of a pod that has no UDP: a proxy, a captive portal, an intercepting proxy. Each runs in a
/// router and knows nothing of what it is used for.
package final class LabService {
    package static let proxyPort = 3128
    package static let proxyUser = "agent"
    package static let proxyPassword = "open sesame"
    static let portalPort = 8080
    static let portalTLSPort = 8443
    static let interceptorPort = 8444
    /// Where the portal sends people, for its name to be recognised by.
    package static let portalName = "login.portal.example"

    private let process: ChildProcess

    private init(_ process: ChildProcess, port: Int, in place: Namespace) throws {
        self.process = process
        try place.waitListening(tcp: port, process)
    }

    /// As a client is told of it: with the password in it, percent-encoded.
    package static func proxyURL(_ address: String) -> String {
        let password = proxyPassword.split(separator: " ").joined(separator: "%20")
        return "http://\(proxyUser):\(password)@\(address):\(proxyPort)"
    }

    /// A proxy for CONNECT with Basic credentials (RFC 9110 section 9.3.6, RFC 7617).
    package static func proxy(in place: Namespace, address: String) throws -> LabService {
        let words = ["/usr/bin/python3", "-c", ProxyPrograms.proxy, address, "\(proxyPort)", proxyUser, proxyPassword]
        return try LabService(place.spawn(words), port: proxyPort, in: place)
    }

    /// Answers plain HTTP with a redirection to its own page, and TLS with a certificate that nobody signed.
    package static func portal(in place: Namespace) throws -> LabService {
        let certificate = try makeCertificate(in: place, name: portalName)
        let words = [
            "/usr/bin/python3", "-c", ProxyPrograms.portal, "\(portalPort)", "\(portalTLSPort)", portalName,
            certificate,
        ]
        return try LabService(place.spawn(words), port: portalTLSPort, in: place)
    }

    /// Ends TLS with a certificate of its own, made for the name that was asked for, and forwards what is inside.
    package static func interceptor(in place: Namespace) throws -> LabService {
        let certificate = try makeCertificate(in: place, name: "Inspection CA")
        let words = ["/usr/bin/python3", "-c", ProxyPrograms.interceptor, "\(interceptorPort)", certificate]
        return try LabService(place.spawn(words), port: interceptorPort, in: place)
    }

    package func stop() { process.stop() }

    /// What the service has written: a line for each thing that it did.
    package var log: [Substring] { process.standardOutput.split(separator: "\n") }

    deinit { process.signal(SIGKILL) }

    /// A self-signed certificate and its key in one file.
    private static func makeCertificate(in place: Namespace, name: String) throws -> String {
        let path = place.sandbox.path("service.pem")
        try place.run(
            "sh", "-eu", "-c",
            """
            openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "/CN=$1" \
                -keyout "$2.key" -out "$2.crt" 2>/dev/null
            cat "$2.key" "$2.crt" > "$2"
            """, "sh", name, path)
        return path
    }
}
