import Glibc
import Linux

/// A program of this package, as it was built with the tests.
package enum BuiltProgram {
    /// Beside the running executable, or beside the test bundle.
    package static func path(_ name: String) throws -> String {
        let own = try FileDescriptor.target(of: "/proc/self/exe")
        let bundle = CommandLine.arguments.first { $0.contains(".xctest") }.map { $0.split(separator: "/") } ?? []
        let folders = [
            own.split(separator: "/").dropLast().map { "/\($0)" }.joined(),
            bundle.prefix { !$0.contains(".xctest") }.map { "/\($0)" }.joined(),
        ]
        guard let folder = folders.first(where: { unsafe access("\($0)/\(name)", X_OK) == 0 }) else {
            throw ChildProcess.Failure(description: "no \(name) in \(folders): build it first")
        }
        return "\(folder)/\(name)"
    }
}
