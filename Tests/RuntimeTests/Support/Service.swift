import Glibc
import Lab

/// A program in a namespace of the node's, which says by HTTP that it is ready; killed and started again at will.
final class Service {
    private let start: () throws -> ChildProcess
    private let name: String
    private let ready: [String]
    private let namespace: Namespace
    private var process: ChildProcess

    /// Starts it, and waits until it is ready.
    ///
    /// - Parameter ready: the address that is asked; its certificate is not.
    init(_ name: String, in namespace: Namespace, ready: String, start: @escaping () throws -> ChildProcess) throws {
        self.start = start
        self.name = name
        self.ready = ["curl", "-ksf", "--max-time", "2", ready]
        self.namespace = namespace
        process = try start()
        try waitReady()
    }

    func kill() throws {
        process.signal(SIGKILL)
        try process.wait(timeout: 10)
    }

    func restart() throws {
        process = try start()
        try waitReady()
    }

    private func waitReady() throws {
        try waitUntil("\(name) ready", timeout: 15, every: 0.05) { [process, name, namespace, ready] in
            guard process.isRunning else { throw LabError.ended(name, text: process.standardError) }
            return try namespace.result(of: ready).succeeded
        }
    }
}
