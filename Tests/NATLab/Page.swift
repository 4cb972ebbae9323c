import Lab

/// The run as one page that needs nothing else: no script, no font, no picture from anywhere.
struct Page {
    let record: RunRecord

    func text() throws -> String {
        var body = header()
        if let matrix = record.matrix {
            let summary = MatrixSummary(record: matrix)
            body += try tiles(matrix, summary)
            body += section("Pairs", MatrixTable(record: matrix).text)
            body += section("Populations", try populations(matrix))
        }
        if !record.failures.isEmpty { body += section("Failures under an open TCP stream", failures()) }
        if !record.cold.isEmpty { body += section(coldTitle, cold()) }
        if !record.blocked.isEmpty || !record.idle.isEmpty { body += section("Without UDP, and idle", rest()) }
        if let matrix = record.matrix { body += shortfalls(MatrixSummary(record: matrix)) }
        if !record.faults.isEmpty {
            body += section("The laboratory's own faults", list(record.faults))
        }
        return """
            <!doctype html>
            <html lang="en">
            <meta charset="utf-8">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <title>Warren: NAT lab</title>
            <style>\(PageStyle.text)</style>
            <main>
            \(body)
            </main>
            </html>

            """
    }

    private func header() -> String {
        """
        <header><h1>Warren <span>NAT lab</span></h1>
        <p>The programs that are shipped, in real network namespaces: two agents behind two NATs that have never met.
        \(Self.escape(record.facts.description)).</p></header>

        """
    }

    // MARK: - The matrix

    private func tiles(_ matrix: MatrixRecord, _ summary: MatrixSummary) throws -> String {
        let trials = matrix.cells.flatMap(\.trials)
        let reachable = trials.count { $0.isReachable }
        let (simple, simpleAll) = summary.pooled(["S", "S†"])
        let (hard, hardAll) = summary.pooled(["P", "B", "B2"])
        func share(_ part: Int, _ all: Int) -> String {
            all == 0 ? "–" : "\(fixed(100 * Double(part) / Double(all), part == all ? 0 : 1))%"
        }
        func tile(_ value: String, _ name: String, _ detail: String) -> String {
            "<div class=tile><b>\(value)</b><span>\(name)</span><small>\(detail)</small></div>"
        }
        let first = trials.compactMap(\.firstByte)
        let direct = matrix.cells.filter { $0.crossing.hasPrefix("S") }.flatMap(\.directs)
        return "<div class=tiles>"
            + tile(
                share(reachable, trials.count), "reachable through something", "\(reachable) of \(trials.count) trials")
            + tile(
                share(simple, simpleAll), "direct where simultaneous open is enough",
                "\(simple) of \(simpleAll), wanted ≥ 99%")
            + tile(share(hard, hardAll), "direct where it takes more", "\(hard) of \(hardAll): prediction, birthdays")
            + tile(
                Self.milliseconds(first.median), "to the first byte at the peer",
                "p99 \(Self.milliseconds(first.percentile(0.99)))")
            + tile(
                Self.milliseconds(direct.median), "to a direct path on easy pairs",
                "p99 \(Self.milliseconds(direct.percentile(0.99)))")
            + "</div>\n"
    }

    private func populations(_ matrix: MatrixRecord) throws -> String {
        var text = """
            <p>The direct share of pairs of two independent endpoints. Published data is thin: the first two populations are
            composites of it and a judgement. Pairs in which an end has no UDP are never direct.</p>
            <div class=populations>

            """
        for profile in Profile.all {
            let shares = try profile.shares(in: matrix)
            text += "<div><h3>\(Self.escape(profile.name))</h3>"
            for (name, share, style) in [
                ("this run", shares.measured, "run"), ("simple punching", shares.simple, "simple"),
                ("possible", shares.possible, "possible"), ("without UDP", shares.blocked, "blocked"),
            ] {
                guard let share else {
                    text += "<div class=bar><span>\(name)</span><em>not every class was measured</em></div>"
                    continue
                }
                text +=
                    "<div class=bar><span>\(name)</span><i class=\(style) style=\"width:\(fixed(share * 160, 1))px\"></i>"
                    + "<b>\(fixed(share * 100, 1))%</b></div>"
            }
            text += "</div>"
        }
        return text + "</div>"
    }

    // MARK: - Scenarios

    private func failures() -> String {
        let rows = Failure.allCases.compactMap { failure -> String? in
            let trials = record.failures.filter { $0.failure == failure }
            if trials.isEmpty { return nil }
            let broken = trials.count { $0.fault != nil || !$0.recovered }
            let strip = Strip(
                limit: 5000, bar: failure.bar, values: trials.map { ($0.silence, $0.fault == nil && $0.recovered) })
            let note = broken == 0 ? "" : " <em>\(broken) did not go on</em>"
            return row(failure.title, strip, trials.map(\.silence), note)
        }
        return """
            <p>The longest silence of a stream that carries a message every 5 ms, from the failure on. Each dot is one time;
            the line is the bar for the worst.</p>
            <table class=strips>\(rows.joined())</table>
            """
    }

    private var coldTitle: String { "Cold peers, \(fixed(record.coldDelay, 0)) ms each way" }

    private func cold() -> String {
        let rows = [
            ("first byte at the peer", record.cold.map(\.firstByte), 180.0),
            ("first reply at the caller", record.cold.map(\.firstReply), 220),
            ("direct path", record.cold.map(\.direct), nil),
        ].map { name, values, bar in
            let found = values.compactMap(\.self)
            return row(name, Strip(limit: 500, bar: bar, values: found.map { ($0, true) }), found, "")
        }
        return "<p>The link to the relay is up, the peer unknown.</p><table class=strips>\(rows.joined())</table>"
    }

    private func row(_ name: String, _ strip: Strip, _ values: [Double], _ note: String) -> String {
        let middle = "p50 \(Self.milliseconds(values.median)), worst \(Self.milliseconds(values.max()))"
        return "<tr><th>\(name)<td>\(strip.text)<td>\(middle)\(note)</tr>"
    }

    private func rest() -> String {
        let rows = ScenarioSummary(record: record).rows.filter { !$0[0].hasPrefix("cold") }.suffix(
            record.blocked.count + record.idle.count)
        let cells = rows.map { "<tr><th>\($0[0])<td>\(Self.escape($0[1]))<td>\($0[2])</tr>" }
        return "<table class=plain><tr><th>what<th>measured<th>wanted</tr>\(cells.joined())</table>"
    }

    private func shortfalls(_ summary: MatrixSummary) -> String {
        let cells = summary.shortfalls
        if cells.isEmpty { return section("Below what is possible", "<p>Nothing.</p>") }
        let rows = cells.map { cell in
            "<tr><td>\(cell.a)<td>\(cell.b)<td>\(cell.crossing)<td>\(MatrixRun.outcomes(cell))"
                + "<td>\(Self.escape(cell.trials.compactMap(\.note).first ?? ""))</tr>"
        }
        return section(
            "Below what is possible (\(cells.count) of \(summary.record.cells.count) pairs)",
            "<details\(rows.count > 30 ? "" : " open")><summary>Each of them</summary><table class=plain>"
                + "<tr><th>one<th>other<th>crossing<th>trials<th>note</tr>\(rows.joined())</table></details>")
    }

    // MARK: - Words

    private func section(_ title: String, _ body: String) -> String {
        "<section><h2>\(Self.escape(title))</h2>\n\(body)\n</section>\n"
    }

    private func list(_ lines: [String]) -> String {
        "<ul>\(lines.map { "<li>\(Self.escape($0))" }.joined())</ul>"
    }

    static func milliseconds(_ value: Double?) -> String {
        guard let value else { return "–" }
        return value >= 1000 ? "\(fixed(value / 1000, 2)) s" : "\(fixed(value, value < 10 ? 1 : 0)) ms"
    }

    static func escape(_ text: String) -> String {
        text.reduce(into: "") { escaped, character in
            switch character {
            case "&": escaped += "&amp;"
            case "<": escaped += "&lt;"
            case ">": escaped += "&gt;"
            case "\"": escaped += "&quot;"
            default: escaped.append(character)
            }
        }
    }
}

/// Dots on a line from 0 to `limit` milliseconds, as a picture in the page.
struct Strip {
    let limit: Double
    let bar: Double?
    /// Values, and whether each is good.
    let values: [(Double, Bool)]

    var text: String {
        let width = 460.0
        func position(_ value: Double) -> String { fixed(8 + min(value, limit) / limit * (width - 16), 1) }
        var svg =
            "<svg viewBox=\"0 0 \(Int(width)) 34\" role=img><line class=axis x1=8 x2=\(Int(width) - 8) y1=14 y2=14 />"
        for tick in 0...5 {
            let value = limit * Double(tick) / 5
            let label = limit >= 2000 ? "\(fixed(value / 1000, 0)) s" : "\(fixed(value, 0))"
            svg +=
                tick < 5
                ? "<text x=\(position(value)) y=32>\(label)" : "<text class=last x=\(Int(width)) y=32>\(label)+"
            svg += "</text>"
        }
        if let bar { svg += "<line class=limit x1=\(position(bar)) x2=\(position(bar)) y1=3 y2=25 />" }
        for (index, (value, isGood)) in values.enumerated() {
            let height = 14 + (index % 5 - 2) * 2
            svg += "<circle cx=\(position(value)) cy=\(height) r=4\(isGood ? "" : " class=bad") />"
        }
        return svg + "</svg>"
    }
}
