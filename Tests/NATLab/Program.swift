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
        var isGood = true
        if options.parts.contains(.matrix) {
            let pairs = options.classes.count * (options.classes.count + 1) / 2
            say("\(options.classes.count) classes, \(pairs) pairs, \(options.trials) trials each")
            let (record, faults) = try MatrixRun(options, programs: programs).run()
            report.matrix = record
            report.faults += faults
            isGood = try show(record) && faults.isEmpty
        }
        for fault in report.faults { complain("laboratory: \(fault)") }
        try report.write(to: options.folder)
        say("written: \(options.folder)/natlab.json")
        return isGood
    }

    private static func show(_ record: MatrixRecord) throws -> Bool {
        put()
        for line in MatrixText(record: record).lines { put(line) }
        let summary = MatrixSummary(record: record)
        var table = Table(header: ["what", "measured", "wanted"])
        for row in try summary.rows() { table.add([row.0, row.1, row.2]) }
        put()
        for line in table.lines { put(line) }
        var profiles = Table(header: ["population", "direct", "simple punching", "possible", "pairs without UDP"])
        for row in try summary.profiles() { profiles.add(row) }
        put()
        for line in profiles.lines { put(line) }
        if !summary.shortfalls.isEmpty { put("\nbelow what is possible:") }
        for cell in summary.shortfalls { put("  " + MatrixRun.line(cell)) }
        put()
        return summary.unreachable == 0 && summary.simpleShortfalls.isEmpty
    }

    private static func complain(_ text: String) {
        FileHandle.standardError.write(Data("warren-natlab: \(text)\n".utf8))
    }
}
