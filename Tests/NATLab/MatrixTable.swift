import Lab

/// The matrix in the page: measured above the diagonal and on it, what is possible below.
struct MatrixTable {
    let record: MatrixRecord

    var text: String {
        let ids = record.classes.map(\.id)
        var rows = "<tr><td class=corner>"
        for (index, row) in record.classes.enumerated() {
            rows +=
                "<th class=column title=\"\(Page.escape(row.title))\"><span>\(row.id)</span><small>\(index + 1)</small>"
        }
        rows += "</tr>\n"
        for (index, row) in record.classes.enumerated() {
            let kind = [row.mapping, row.filtering].compactMap(\.self).joined(separator: " ")
            rows +=
                "<tr><th class=row title=\"\(Page.escape(row.title))\"><small>\(index + 1)</small> \(row.id)"
                + "<i>\(kind.isEmpty ? "no UDP" : kind)</i>"
            for (column, other) in ids.enumerated() {
                guard let cell = record.cell(row.id, other) else {
                    rows += "<td>"
                    continue
                }
                rows += column >= index ? measured(cell) : possible(cell)
            }
            rows += "</tr>\n"
        }
        return """
            <p>Above the diagonal and on it, what was measured: the milliseconds to a direct path, or to the first answer
            where there was none (medians of \(record.trialsPerCell) trials; \(record.lanes) pairs at a time,
            \(fixed(record.settings.patience, 0)) s of patience). Below it, what is possible, with a dot where simultaneous open
            alone is enough. A tooltip tells more.</p>
            <div class=scroll><table class=matrix>\(rows)</table></div>
            \(Self.legend)
            """
    }

    private func measured(_ cell: Cell) -> String {
        let count = cell.trials.count
        let style: String
        switch cell.mark {
        case "D": style = "direct"
        case "R": style = cell.bar > 0 ? "relay short" : "relay"
        case "½": style = "half"
        case "·": return "<td class=missing title=\"not measured\">·"
        default: style = cell.unreachable > 0 ? "dead" : "mixed"
        }
        var text = "–"
        if let direct = cell.directs.median {
            text = Self.short(direct)
        } else if let reply = cell.firstReplies.median {
            text = Self.short(reply)
        }
        if cell.unreachable == count { text = "✕" }
        let share = fixed(cell.directShare * 100, 0)
        let extra = style == "mixed" ? "<small>\(cell.count(.direct))/\(count)</small>" : ""
        return "<td class=\"\(style)\" style=\"--share:\(share)%\" title=\"\(Page.escape(tip(cell)))\">\(text)\(extra)"
    }

    private func possible(_ cell: Cell) -> String {
        "<td class=\"possible p\(cell.crossing.prefix(1))\" title=\"\(Page.escape(tip(cell)))\">\(cell.crossing)"
            + (cell.isSimple ? "<b></b>" : "")
    }

    private func tip(_ cell: Cell) -> String {
        var lines = [
            "\(cell.a) × \(cell.b): possible \(cell.crossing), simple punching \(cell.isSimple ? "direct" : "no")"
        ]
        lines.append(MatrixRun.outcomes(cell))
        for (name, values) in [
            ("first byte", cell.firstBytes), ("first reply", cell.firstReplies), ("direct after", cell.directs),
        ] where !values.isEmpty {
            lines.append(
                "\(name) \(Page.milliseconds(values.median)), worst \(Page.milliseconds(values.max()))")
        }
        if let datagrams = cell.datagrams.median { lines.append("\(fixed(datagrams, 0)) datagrams between the sites") }
        lines += Set(cell.trials.compactMap(\.note)).sorted()
        return lines.joined(separator: "\n")
    }

    private static func short(_ value: Double) -> String {
        value >= 1000 ? "\(fixed(value / 1000, 1))s" : fixed(value, value < 10 ? 1 : 0)
    }

    private static let legend = """
        <p class=legend><span><i class=direct></i>direct</span><span><i class=mixed style="--share:60%"></i>direct in some
        trials</span><span><i class=half></i>direct one way</span><span><i class="relay short"></i>relay, though more is
        possible</span><span><i class=relay></i>relay, as expected</span><span><i class=dead></i>unreachable in some trial</span>
        <span>S simultaneous open, S† where a binding is reused, P prediction, B birthday of one side, B2 of both, R only a
        relay</span></p>
        """
}
