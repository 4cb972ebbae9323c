import Foundation
import Glibc
import Lab

/// `warren-natlab`: the programs that are shipped, behind pairs of every kind of NAT.
enum Program {
    /// Returns the exit status: 0 when every pair was reachable, and direct where simultaneous open is enough.
    static func run() -> Int32 {
        let missing = Requirements.missing()
        guard missing.isEmpty else {
            for line in missing { complain(line) }
            return 1
        }
        do {
            return try measure(Options()) ? 0 : 1
        } catch {
            Interruption.waitIfInterrupted()
            complain("\(error)")
            return 1
        }
    }

    private static func measure(_ options: Options) throws -> Bool {
        let programs = try Programs.folder()
        var report = RunRecord(Facts())
        say("warren-natlab, \(report.facts.description)")
        let scenarios = ScenarioRuns(options: options, programs: programs)
        for part in options.parts {
            let faults: [String]
            switch part {
            case .matrix: (report.matrix, faults) = try MatrixRun(options: options, programs: programs).run()
            case .failures: (report.failures, faults) = try scenarios.failures()
            case .cold: (report.cold, faults) = try scenarios.cold(delay: report.coldDelay)
            case .blocked: (report.blocked, faults) = try scenarios.blocked(delay: report.coldDelay)
            case .idle: (report.idle, faults) = try scenarios.idle()
            }
            report.faults += faults
            // What was measured is not lost when a later part is interrupted.
            try report.write(to: options.folder)
        }
        let isGood = try show(report)
        say("written: \(options.folder)/natlab.json, \(options.folder)/index.html")
        return isGood
    }

    private static func show(_ report: RunRecord) throws -> Bool {
        var isGood = report.faults.isEmpty
        var table = Table(header: ["what", "measured", "wanted"])
        if let record = report.matrix {
            put()
            for line in MatrixText(record: record).lines { put(line) }
            let summary = MatrixSummary(record: record)
            for row in try summary.rows() { table.add([row.0, row.1, row.2]) }
            isGood = isGood && summary.unreachable == 0 && summary.simpleShortfalls.isEmpty
        }
        for row in ScenarioSummary(record: report).rows { table.add(row) }
        put()
        for line in table.lines { put(line) }
        if let record = report.matrix { try showShares(record) }
        put()
        for fault in report.faults { complain("laboratory: \(fault)") }
        return isGood && report.failures.allSatisfy { $0.fault == nil }
    }

    private static func showShares(_ record: MatrixRecord) throws {
        let summary = MatrixSummary(record: record)
        var profiles = Table(header: ["population", "direct", "simple punching", "possible", "pairs without UDP"])
        for row in try summary.profiles() { profiles.add(row) }
        put()
        for line in profiles.lines { put(line) }
        let shortfalls = summary.shortfalls
        if shortfalls.isEmpty { return }
        put("\nbelow what is possible: \(shortfalls.count) of \(record.cells.count) pairs")
        for cell in shortfalls.prefix(40) { put("  " + MatrixRun.line(cell)) }
        if shortfalls.count > 40 { put("  … the others are in the page and in the file") }
    }

    private static func complain(_ text: String) {
        FileHandle.standardError.write(Data("warren-natlab: \(text)\n".utf8))
    }
}
