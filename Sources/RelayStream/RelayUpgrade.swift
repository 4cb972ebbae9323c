import Addressing
package import NIOHTTP1
package import Relay

/// How an HTTP/1.1 connection becomes a relay's stream: the Upgrade of RFC 6455, so that ordinary ingresses and proxies pass
/// it.
///
///     GET /warren/relay HTTP/1.1
///     Upgrade: websocket
///     Sec-WebSocket-Protocol: warren-relay.1
///     Warren-Hello: AGENT-ID.NONCE          32 and 16 hexadecimal digits
///
/// The hello comes with the request, and the challenge as the first message, which saves a round trip. From then on both
/// sides send binary messages (`StreamFrames`).
package enum RelayUpgrade {
    package static let path = "/warren/relay"
    package static let subprotocol = "warren-relay.1"
    package static let helloHeader = "Warren-Hello"
    package static let requestHeaderLimit = 8192

    /// The request's own headers for a client that registers as `hello` says.
    package static func headers(_ hello: Hello) -> HTTPHeaders {
        let digits = String(hello.nonce, radix: 16)
        let nonce = String(repeating: "0", count: 16 - digits.count) + digits
        return ["Sec-WebSocket-Protocol": subprotocol, helloHeader: "\(hello.agent).\(nonce)"]
    }

    /// Whether `head` asks for this upgrade.
    package static func isRequested(by head: HTTPRequestHead) -> Bool {
        let path = head.uri.prefix { $0 != "?" }
        return head.method == .GET && path == self.path
            && head.headers[canonicalForm: "Sec-WebSocket-Protocol"].contains { $0 == subprotocol }
    }

    /// The hello in the request; nil when there is none or it is malformed.
    package static func hello(in head: HTTPRequestHead) -> Hello? {
        guard let text = head.headers.first(name: helloHeader) else { return nil }
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 2, let agent = AgentID(String(parts[0])), parts[1].utf8.count == 16,
            let nonce = UInt64(parts[1], radix: 16)
        else { return nil }
        return Hello(agent: agent, nonce: nonce)
    }
}
