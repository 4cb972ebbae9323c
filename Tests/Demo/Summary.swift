import Lab

/// The rows of the table at the end: what was asked, what was measured, whether that is enough.
struct Summary {
    private var rows: [(what: String, measured: String, bar: String, isGood: Bool)] = []

    var isGood: Bool { !rows.isEmpty && rows.allSatisfy(\.isGood) }

    mutating func add(_ what: String, _ measured: String, bar: String, _ isGood: Bool) {
        rows.append((what, measured, bar, isGood))
    }

    func print(on screen: Screen) {
        var table = Table(header: ["what", "measured", "bar", ""])
        for row in rows { table.add([row.what, row.measured, row.bar, row.isGood ? "ok" : "FAILED"]) }
        screen.title("Summary")
        for line in table.lines { screen.plain(line) }
    }
}
