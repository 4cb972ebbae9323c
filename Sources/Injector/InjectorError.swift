/// What keeps the injector from working.
package enum InjectorError: Error, Equatable, Sendable, CustomStringConvertible {
    /// A certificate can't be made or used; what failed.
    case certificate(String)
    /// Certificates can't be read or kept; where and why.
    case store(String)
    case listen(String, reason: String)
    case option(String)

    package var description: String {
        switch self {
        case .certificate(let what): "certificate: \(what)"
        case .store(let what): what
        case .listen(let address, let reason): "listen on \(address): \(reason)"
        case .option(let what): what
        }
    }
}
