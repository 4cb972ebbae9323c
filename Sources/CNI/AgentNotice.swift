import Linux

/// What the plugin tells the node's agent, so that the sidecar's way to its TUN is open before any container starts.
///
/// One message each way on a SOCK_SEQPACKET socket of the Unix domain, each a JSON object of at most `limit` bytes:
///
///     {"attached": RECORD}     an attachment is complete (`AttachmentRecord`)
///     {"withdraw": true}       take the entry out of the configuration and leave it out
///     {}                       done
///     {"error": "text"}        not done, and why
///
/// The agent talks to uid 0 only.
package enum AgentNotice: Hashable, Sendable {
    case attached(AttachmentRecord)
    case withdraw

    package static let limit = 16384
    /// How long connecting, asking and answering may take, each. A pod's start waits for it.
    package static let seconds = 2

    package var json: JSONValue {
        switch self {
        case .attached(let record): .object(["attached": record.json])
        case .withdraw: .object(["withdraw": .boolean(true)])
        }
    }

    package init(parsing bytes: [UInt8]) throws(CNIError) {
        let json = try JSONValue(parsing: bytes)
        if let record = json["attached"] {
            self = .attached(try AttachmentRecord(parsing: record.serialized()))
        } else if json["withdraw"] == .boolean(true) {
            self = .withdraw
        } else {
            throw .undecodable("decode notice to the agent: neither attached nor withdraw")
        }
    }

    /// Tells the agent that listens at `path`, and returns when it has done its part.
    ///
    /// - Throws: `.tryAgainLater` when there is no agent, or it does not answer or says no.
    package func send(to path: String, seconds: Int = AgentNotice.seconds) throws(CNIError) {
        let subject = "tell the node's agent at \(path)"
        let answer: [UInt8]
        do throws(SystemError) {
            let socket = try PacketSocket.connect(to: .path(path), seconds: seconds)
            try socket.send(json.serialized())
            answer = try socket.receive(limit: Self.limit).bytes
        } catch { throw .tryAgainLater("\(subject): \(error): does warren-node run?") }
        guard let json = try? JSONValue(parsing: answer), case .object = json else {
            throw .tryAgainLater("\(subject): it closed the connection without an answer")
        }
        if let text = json["error"]?.text { throw .tryAgainLater("\(subject): \(text)") }
    }

    /// Whether an agent listens at `path`, for STATUS.
    package static func isAgentPresent(at path: String) -> Bool {
        (try? PacketSocket.connect(to: .path(path), seconds: 1)) != nil
    }
}
