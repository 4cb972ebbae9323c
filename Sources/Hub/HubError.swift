import Linux

/// Why the hub, or one of its commands, can't do what it was asked. Each description is one line that says what to do.
package enum HubError: Error, Equatable, Sendable {
    case notAHub(String)
    case missingFile(String)
    /// A key file that others may read or write.
    case exposedFile(String, mode: UInt32)
    case malformedFile(String)
    case system(SystemFailure)
    case portTaken(String)
    case listen(String, reason: String)
    case store(StoreError)
    case tls(String)
    case option(String)
    case notFound(String)
    case unhealthy(String)

    /// A failed system call: operation, subject and error.
    package struct SystemFailure: Error, Equatable, Sendable {
        package let description: String
    }

    init(_ error: SystemError) { self = .system(SystemFailure(description: error.description)) }
}

extension HubError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .notAHub(let path): "\(path) is not a hub's folder: make one with `warren-hub init --dir \(path) …`"
        case .missingFile(let path):
            "\(path) is missing: restore it from a backup; without it this hub can't serve that role"
        case .exposedFile(let path, let mode):
            "\(path) has mode \(String(mode, radix: 8)), so that others can use it: "
                + "`chmod 600 \(path)`, and replace the key if somebody may have read it"
        case .malformedFile(let path): "\(path) is damaged: restore it from a backup"
        case .system(let failure): failure.description
        case .portTaken(let address):
            "listen on \(address): the port is taken; end what has it, or choose another address"
        case .listen(let address, let reason): "listen on \(address): \(reason)"
        case .store(let error): "store: \(error)"
        case .tls(let reason): "TLS: \(reason)"
        case .option(let text), .notFound(let text): text
        case .unhealthy(let reason): "unhealthy: \(reason)"
        }
    }
}
