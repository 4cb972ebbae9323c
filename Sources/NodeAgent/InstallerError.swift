package import Linux

/// Why the plugin can't be installed or taken away now. The text names operation and subject.
package enum InstallerError: Error, Hashable, Sendable {
    /// The plugin does not run, or says no to a verb.
    case plugin(String)
    /// A file of somebody else is in the way.
    case inTheWay(String)
    case system(SystemError)
}

extension InstallerError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .plugin(let text), .inTheWay(let text): text
        case .system(let error): error.description
        }
    }
}
