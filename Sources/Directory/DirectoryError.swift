package import Membership

/// Why a conversation with a hub failed. Each description says what to do.
package enum DirectoryError: Error, Equatable, Sendable {
    /// No connection: name resolution, TCP or TLS failed.
    case unreachable(HubAddress, reason: String)
    /// The server's TLS key is not the pinned one.
    case wrongPin(HubAddress)
    /// The hub said no; the code says why.
    case refused(ErrorCode, String)
    /// The hub can't decide now, for a reason that will pass: ask again after `seconds`.
    case later(seconds: UInt16, String)
    /// The file with the service account's token can't be read, or has none.
    case unreadableToken(String)
    /// What the hub sent does not verify, though it came from the right server.
    case invalidRecord(MembershipError)
    /// The hub has this sequence number of ours, or a higher one.
    case staleSequence(known: UInt64)
    case protocolViolation(String)
    /// Not connected now: `run` is connecting again.
    case disconnected
    case timeout
    /// More than 1,200 bytes of signal.
    case oversizedSignal(Int)
}

extension DirectoryError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .unreachable(let address, let reason):
            "hub \(address) is unreachable (\(reason)): check that it runs and that TCP port \(address.port) is open to here"
        case .wrongPin(let address):
            "the server at \(address) has another TLS key than the join token or the hub's public text pins: "
                + "it is not the hub that made it; take a new one from there"
        case .refused(_, let text): "the hub refuses: \(text)"
        case .later(let seconds, let text): "the hub asks to come again in \(seconds) s: \(text)"
        case .unreadableToken(let text): "service account's token: \(text)"
        case .invalidRecord(let error): "what the hub sent does not verify: \(error)"
        case .staleSequence(let known): "the hub has sequence \(known) already: announce a higher one"
        case .protocolViolation(let what): "the hub does not speak this protocol: \(what)"
        case .disconnected: "not connected to the hub now"
        case .timeout: "the hub did not answer in time"
        case .oversizedSignal(let size): "a signal of \(size) bytes: at most \(Message.signalLimit) are allowed"
        }
    }

    package var code: ErrorCode? { if case .refused(let code, _) = self { code } else { nil } }
}
