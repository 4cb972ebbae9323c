import Foundation
import Lab

/// The source tree that these tests were built from.
enum Repository {
    static let folder = String(#filePath.split(separator: "/").dropLast(3).reduce("") { $0 + "/" + $1 })

    static func text(_ path: String) -> String { readText("\(folder)/\(path)") }

    static func exists(_ path: String) -> Bool { fileExists("\(folder)/\(path)") }

    /// Runs a command of the machine's own and returns what it left.
    static func result(of words: [String], input: String? = nil) throws -> Output {
        let sandbox = try Sandbox.unique()
        defer { sandbox.tearDown() }
        let libraries = try Image.environment(folder: Programs.folder())
        return try sandbox.result(of: words, environment: libraries, input: input)
    }
}
