package import Linux

/// Why a TUN descriptor could not be had from the node's agent.
package enum HandoverError: Error, Hashable, Sendable {
    /// Nobody listens: ECONNREFUSED.
    case absent(SystemError)
    /// Connected, but no answer, or one that is none of ours.
    case noAnswer(String)
    case refused(String)
    case notNow(String)
    /// What was sent is not the descriptor of our interface: somebody else has taken the agent's name.
    case foreign(String)
    case system(String)

    /// Another attempt a moment later may succeed: the agent restarts, the name is taken from it, the interface is held.
    package var isWorthAnotherAttempt: Bool {
        switch self {
        case .absent, .noAnswer, .notNow, .foreign: true
        case .refused, .system: false
        }
    }
}

extension HandoverError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .absent(let error): "\(error)"
        case .noAnswer(let text): "no answer: \(text)"
        case .refused(let text): "refused: \(text)"
        case .notNow(let text): "not now: \(text)"
        case .foreign(let text): "not our interface's descriptor, so another process has the agent's name: \(text)"
        case .system(let text): text
        }
    }
}
