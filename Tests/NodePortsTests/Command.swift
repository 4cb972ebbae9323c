import TestSupport

/// Programs in a network namespace of a test.
enum Command {
    /// Runs the words in the network namespace at `path`; throws when the program fails.
    @discardableResult
    static func run(_ words: [String], in path: String, input: String = "") throws -> String {
        let outcome = try ChildProcess(
            "/usr/bin/nsenter", ["--net=\(path)", "--"] + words,
            environment: ["PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"], input: input
        ).wait()
        guard outcome.status == 0 else {
            throw ChildProcess.Failure(
                description: "\(words.joined(separator: " ")): status \(outcome.status): \(outcome.diagnostics)")
        }
        return outcome.output
    }
}
