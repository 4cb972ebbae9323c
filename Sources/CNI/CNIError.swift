/// Why a verb failed, as the runtime and the pod's events will show it. The text names operation and subject.
///
/// Codes below 100 are the specification's (CNI 1.1.0, "Error") and libcni's; those from 100 on are ours:
///
///     1  incompatible version       5  I/O failure               11  try again later
///     2  unsupported field          6  decoding failed           50  plugin not available
///     4  invalid environment        7  invalid configuration
///                                   8  invalid network namespace (libcni)
///     100 already attached     101 address taken     102 range exhausted
///     103 kernel refused       104 check failed      105 user namespace
///     106 ranges overlap       107 delegated plugin
package enum CNIError: Error, Hashable, Sendable {
    case incompatibleVersion(String)
    case unsupportedField(String)
    case invalidEnvironment(String)
    /// A file of the store, stdin or stdout can't be read or written.
    case inputOutput(String)
    case undecodable(String)
    case invalidConfiguration(String)
    case invalidNamespace(String)
    /// What ADD needs is absent for the moment.
    case tryAgainLater(String)
    /// STATUS only: no ADD can succeed now.
    case notAvailable(String)
    /// The container has an attachment to this network, or its namespace has an interface of that name.
    case alreadyAttached(String)
    /// The requested address belongs to another container.
    case addressTaken(String)
    case rangeExhausted(String)
    /// A TUN or netlink request was refused.
    case kernel(String)
    /// CHECK only: reality differs from the previous result or the configuration.
    case checkFailed(String)
    /// The pod's user namespace can't be entered or does not map the owner's uid.
    case userNamespace(String)
    /// The mesh's ranges and somebody else's have addresses in common.
    case overlap(String)
    /// A delegated plugin could not be run, or said nothing that can be understood.
    case delegation(String)
    /// A delegated plugin's own error, with its own code.
    case delegated(code: Int, message: String, details: String)

    package var code: Int {
        switch self {
        case .incompatibleVersion: 1
        case .unsupportedField: 2
        case .invalidEnvironment: 4
        case .inputOutput: 5
        case .undecodable: 6
        case .invalidConfiguration: 7
        case .invalidNamespace: 8
        case .tryAgainLater: 11
        case .notAvailable: 50
        case .alreadyAttached: 100
        case .addressTaken: 101
        case .rangeExhausted: 102
        case .kernel: 103
        case .checkFailed: 104
        case .userNamespace: 105
        case .overlap: 106
        case .delegation: 107
        case .delegated(let code, _, _): code
        }
    }

    package var message: String {
        switch self {
        case .incompatibleVersion(let text), .unsupportedField(let text), .invalidEnvironment(let text),
            .inputOutput(let text), .undecodable(let text), .invalidConfiguration(let text),
            .invalidNamespace(let text), .tryAgainLater(let text), .notAvailable(let text), .alreadyAttached(let text),
            .addressTaken(let text), .rangeExhausted(let text), .kernel(let text), .checkFailed(let text),
            .userNamespace(let text), .overlap(let text), .delegation(let text), .delegated(_, let text, _):
            text
        }
    }

    /// The specification's error object.
    ///
    /// - Parameter details: for whom the verb was; what a delegated plugin said comes before.
    package func json(version: String, details: String = "") -> JSONValue {
        var members: [String: JSONValue] = [
            "cniVersion": .string(version), "code": .integer(Int64(code)), "msg": .string(message),
        ]
        var texts = [details]
        if case .delegated(_, _, let theirs) = self { texts.insert(theirs, at: 0) }
        let text = texts.filter { !$0.isEmpty }.joined(separator: "; ")
        if !text.isEmpty { members["details"] = .string(text) }
        return .object(members)
    }
}

extension CNIError: CustomStringConvertible {
    package var description: String { "\(message) (code \(code))" }
}
