import Addressing
import Glibc

/// Which connections go through which HTTP proxy, by the usual variables: `HTTPS_PROXY` names the proxy, and `NO_PROXY` the
/// exceptions, with commas between: a host, a domain above it, a network of addresses, or `*`. Either may be in small letters.
package struct ProxyRules: Equatable, Sendable {
    private let proxy: HTTPProxy?
    private let exceptions: [String]

    /// No proxy for anybody.
    package init() {
        proxy = nil
        exceptions = []
    }

    /// A proxy that is malformed is an error of its own, not "no proxy".
    ///
    /// - Throws: `.malformed`.
    package init(_ environment: [String: String]) throws(ProxyError) {
        func value(_ name: String) -> String? { environment[name] ?? environment[name.lowercased()] }
        exceptions = (value("NO_PROXY") ?? "").split(separator: ",").map { $0.filter { $0 != " " }.lowercased() }
        guard let url = value("HTTPS_PROXY"), !url.isEmpty else {
            proxy = nil
            return
        }
        guard let proxy = HTTPProxy(url: url) else { throw .malformed }
        self.proxy = proxy
    }

    /// By this process's environment.
    package static func inEnvironment() throws(ProxyError) -> ProxyRules {
        var environment: [String: String] = [:]
        for name in ["HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"] {
            if let value = unsafe getenv(name) { environment[name] = unsafe String(cString: value) }
        }
        return try ProxyRules(environment)
    }

    /// The proxy for connections to `host`; nil where they go straight.
    package func proxy(for host: String) -> HTTPProxy? {
        let host = host.lowercased()
        let address = IPAddress(host)
        let isException = exceptions.contains { name in
            if let address, let network = IPPrefix(name), network.contains(address) { return true }
            let domain = name.hasPrefix(".") ? String(name.dropFirst()) : name
            return name == "*" || host == domain || !domain.isEmpty && host.hasSuffix("." + domain)
        }
        return isException ? nil : proxy
    }
}
