/// What a call of the Kubernetes API can end with.
package enum KubernetesError: Error, Equatable, Sendable, CustomStringConvertible {
    /// This process has no in-cluster configuration, or an unusable one.
    case configuration(String)
    /// No connection, or one that ended before the answer did.
    case unreachable(String)
    /// 404.
    case notFound(String)
    /// 409: another was faster, or it exists already.
    case conflict(String)
    /// 410: the resource version, or the list's continuation, is too old.
    case gone(String)
    /// 401 or 403: the service account may not.
    case forbidden(String)
    /// Any other answer that is no success.
    case status(Int, String)
    case malformed(String)

    package var description: String {
        switch self {
        case .configuration(let what): "in-cluster configuration: \(what)"
        case .unreachable(let what): "API server: \(what)"
        case .notFound(let what): "API server: not found: \(what)"
        case .conflict(let what): "API server: conflict: \(what)"
        case .gone(let what): "API server: gone: \(what)"
        case .forbidden(let what): "API server: not allowed: \(what)"
        case .status(let code, let what): "API server: \(code): \(what)"
        case .malformed(let what): "API server: not understood: \(what)"
        }
    }
}
