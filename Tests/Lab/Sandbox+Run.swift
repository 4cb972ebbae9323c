import Glibc

extension Sandbox {
    /// What programs of a scenario see as their environment, and nothing of the caller's.
    package static let environment = [
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "HOME": "/root",
        "SWIFT_BACKTRACE": "enable=no",
    ]

    /// Where a program is on the scenarios' search path.
    package static func find(_ program: String) -> String? {
        let folders = environment["PATH", default: ""].split(separator: ":")
        return folders.map { "\($0)/\(program)" }.first(where: isExecutable)
    }

    /// Starts `words`; its streams go to files in the sandbox's folder.
    package func spawn(
        _ words: [String], environment: [String: String] = [:], input: String? = nil
    ) throws -> ChildProcess {
        let name = words.first?.split(separator: "/").last.map(String.init) ?? "command"
        var inputPath = "/dev/null"
        if let input {
            inputPath = path("\(name).in")
            try writeText(input, to: inputPath, mode: 0o600)
        }
        let (outputPath, errorPath) = (path("\(name).out"), path("\(name).err"))
        return try start {
            try ChildProcess(
                words, environment: Self.environment.merging(environment) { $1 }, input: inputPath,
                output: outputPath, error: errorPath)
        }
    }

    /// Runs `words` to the end and returns what it left, whatever its status; throws past `timeout` seconds.
    package func result(
        of words: [String], environment: [String: String] = [:], input: String? = nil, timeout: Double = 30
    ) throws -> Output {
        let start = Clock.now
        let process = try spawn(words, environment: environment, input: input)
        defer {
            removeFile(process.outputPath)
            removeFile(process.errorPath)
        }
        let status = try process.wait(timeout: timeout)
        return Output(
            status: status, standardOutput: process.standardOutput, standardError: process.standardError,
            seconds: Clock.now - start)
    }

    /// Runs `words`, which must end with status 0, and returns its standard output.
    @discardableResult
    package func run(_ words: String..., input: String? = nil, timeout: Double = 30) throws -> String {
        try output(of: words, input: input, timeout: timeout)
    }

    /// As `run`, with the words in an array.
    @discardableResult
    package func output(of words: [String], input: String? = nil, timeout: Double = 30) throws -> String {
        let result = try result(of: words, input: input, timeout: timeout)
        guard result.succeeded else {
            throw LabError.command(words, status: result.status, text: result.text)
        }
        return result.standardOutput
    }
}
