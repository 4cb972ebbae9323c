import Metrics

/// What a GET is answered with.
package struct ScrapeAnswer: Sendable {
    let status: String
    let type: String
    let body: String

    package init(_ status: String, _ body: String, type: String = "text/plain; charset=utf-8") {
        self.status = status
        self.body = body
        self.type = type
    }

    package static func json(isOK: Bool, _ body: String) -> Self {
        Self(isOK ? "200 OK" : "503 Service Unavailable", body + "\n", type: "application/json")
    }

    package static func metrics(_ text: String) -> Self { Self("200 OK", text, type: Exposition.contentType) }

    static let notFound = Self("404 Not Found", #"{"error":"not found"}"# + "\n", type: "application/json")
    static let tooLarge = Self("413 Payload Too Large", #"{"error":"too large"}"# + "\n", type: "application/json")

    var bytes: [UInt8] {
        let head = [
            "HTTP/1.1 \(status)", "Content-Type: \(type)", "Content-Length: \(body.utf8.count)", "Connection: close",
            "Cache-Control: no-store",
        ]
        return Array((head.joined(separator: "\r\n") + "\r\n\r\n" + body).utf8)
    }
}
