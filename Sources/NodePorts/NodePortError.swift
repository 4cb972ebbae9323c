package import Netlink

/// Why a node port could not be given or taken, with the operation and the subject.
package enum NodePortError: Error, Hashable, Sendable {
    case invalid(String)
    /// The store can't be read or written.
    case store(String)
    /// Every port of the range is a pod's, or a program of the node has it.
    case exhausted(String)
    case kernel(NetlinkError)
}

extension NodePortError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .invalid(let text), .store(let text), .exhausted(let text): text
        case .kernel(let error): error.description
        }
    }
}
