package import Directory

/// Why a node has no lease of an address block: one line that says what to do.
package enum LeaseError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The state folder can't be used.
    case state(String)
    /// What proves that the node may have a block can't be read, or is none.
    case credential(String)
    /// The hub's answer, or that there is none.
    case hub(DirectoryError)
    /// The hub's answer makes no sense.
    case unusable(String)

    package var description: String {
        switch self {
        case .state(let text), .credential(let text), .unusable(let text): text
        case .hub(let error): "\(error)"
        }
    }

    /// The hub says that this node may have no block: neither the one that it has, nor another.
    var isRefusal: Bool {
        guard case .hub(.refused(let code, _)) = self else { return false }
        return code != .internal && code != .tooMany
    }

    /// Another attempt may get another answer within seconds.
    var isPassing: Bool {
        guard case .hub(let error) = self else { return false }
        return switch error {
        case .unreachable, .disconnected, .timeout, .later, .unreadableToken: true
        case .refused: !isRefusal
        case .wrongPin, .invalidRecord, .staleSequence, .protocolViolation, .oversizedSignal: false
        }
    }
}
