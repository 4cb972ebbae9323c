import Foundation
import Glibc
import Lab

/// Where and with what a run was made.
struct Facts: Codable, CustomStringConvertible {
    var build: String
    var kernel: String
    var cores: Int
    var began: String

    init() {
        var name = utsname()
        _ = unsafe uname(&name)
        kernel = unsafe withUnsafeBytes(of: name.release) { bytes in
            unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
        build = unsafe getenv("WARREN_BUILD").map { unsafe String(cString: $0) } ?? "unnamed build"
        cores = sysconf(Int32(_SC_NPROCESSORS_ONLN))
        began = ISO8601DateFormatter().string(from: Date())
    }

    var description: String { "\(build), Linux \(kernel), \(cores) cores, \(began)" }
}

/// Everything that a run saw.
struct RunRecord: Codable {
    var facts: Facts
    var matrix: MatrixRecord?
    var failures: [FailureTrial] = []
    /// Cold peers at `coldDelay` ms each way between each agent and everything else.
    var cold: [Trial] = []
    var coldDelay = 20.0
    /// Pairs of which one has no UDP, at the same delay.
    var blocked: [Cell] = []
    var idle: [IdleRecord] = []
    /// What the laboratory failed at.
    var faults: [String] = []

    init(_ facts: Facts) { self.facts = facts }

    /// Writes `natlab.json` and `index.html` into `folder`, which is made if it is missing.
    func write(to folder: String) throws {
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        try writeText(String(decoding: encoder.encode(self), as: UTF8.self) + "\n", to: "\(folder)/natlab.json")
        try writeText(try Page(record: self).text(), to: "\(folder)/index.html")
    }
}
