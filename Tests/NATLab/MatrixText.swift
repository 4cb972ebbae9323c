import Lab

/// The matrix as lines of text: several tables with one row and one column a class, below the diagonal.
struct MatrixText {
    let record: MatrixRecord

    var lines: [String] {
        var lines = ["classes, and what is possible between them"]
        lines += grid { "\($0.crossing)\($0.isSimple || $0.crossing == "R" ? "" : "*")" }
        lines += [
            "S simultaneous open, S† where a NAT reuses the binding (conntrack does), P prediction, B birthday of one side,",
            "B2 of both, R only a relay; * is not crossed by simultaneous open alone", "",
            "path: D direct, R relay, ½ direct one way, X unreachable; \(record.trialsPerCell) trials a pair",
        ]
        lines += grid(\.mark)
        lines += ["", "time to the first byte at the peer, median, ms"]
        lines += grid { $0.firstBytes.median.map(Self.short) ?? "–" }
        lines += ["", "time to a direct path, median, ms (by the caller's sidecar, from learning of the peer)"]
        lines += grid { $0.directs.median.map(Self.short) ?? "–" }
        lines += ["", "datagrams between the sites until then, both ways, median (all of the waiting where none came)"]
        lines += grid { $0.datagrams.median.map(Self.short) ?? "–" }
        return lines
    }

    private func grid(_ text: (Cell) -> String) -> [String] {
        let ids = record.classes.map(\.id)
        var table = Table(header: [""] + ids.indices.map { "\($0 + 1)" })
        for (row, id) in ids.enumerated() {
            let cells = ids[...row].map { other in record.cell(id, other).map(text) ?? "·" }
            table.add(["\(row + 1) \(id)"] + cells)
        }
        return table.lines
    }

    static func short(_ value: Double) -> String { fixed(value, value < 10 ? 1 : 0) }
}

/// What a run comes to: shares, percentiles, and what is below its bar.
struct MatrixSummary {
    let record: MatrixRecord

    private var trials: [Trial] { record.cells.flatMap(\.trials) }

    var unreachable: Int { trials.count { !$0.isReachable } }

    /// Pairs that fell short of what is possible between them.
    var shortfalls: [Cell] { record.cells.filter { $0.directShare < $0.bar || $0.unreachable > 0 } }

    /// Pairs that simultaneous open crosses, and that were not all direct.
    var simpleShortfalls: [Cell] { record.cells.filter { $0.isSimple && $0.directShare < 1 } }

    /// Direct trials of the pairs with one of these crossings, of all their trials.
    func pooled(_ crossings: [String]) -> (direct: Int, trials: Int) {
        let cells = record.cells.filter { crossings.contains($0.crossing) }
        return (cells.map { $0.count(.direct) }.reduce(0, +), cells.map(\.trials.count).reduce(0, +))
    }

    /// Rows of name, value and what is wanted.
    func rows() throws -> [(String, String, String)] {
        let count = trials.count
        var rows = [
            (
                "reachable through something", Self.share(count - unreachable, count),
                "100%"
            )
        ]
        for (name, crossings, bar) in [
            ("direct where S or S†", ["S", "S†"], "≥ 99%"), ("direct where P", ["P"], "≥ 99%"),
            ("direct where B or B2", ["B", "B2"], "≥ 97%"), ("direct where only a relay is expected", ["R"], "–"),
        ] {
            let (direct, all) = pooled(crossings)
            if all > 0 { rows.append((name, Self.share(direct, all), bar)) }
        }
        for (name, values) in [
            ("first byte at the peer", trials.compactMap(\.firstByte)),
            ("first reply at the caller", trials.compactMap(\.firstReply)),
            ("direct path, where S or S†", record.cells.filter { $0.crossing.hasPrefix("S") }.flatMap(\.directs)),
            ("direct path, all", trials.compactMap(\.direct)),
        ] where !values.isEmpty {
            rows.append((name, Self.percentiles(values), ""))
        }
        let checked = record.cells.filter { $0.a != "lossy" && $0.b != "lossy" }.flatMap(\.trials).compactMap(\.lost)
        rows.append(("lost on paths just found", "\(checked.reduce(0, +)) of \(10 * checked.count)", "0"))
        return rows
    }

    static func share(_ part: Int, _ all: Int) -> String {
        all == 0 ? "–" : "\(fixed(100 * Double(part) / Double(all), 1))% (\(part) of \(all))"
    }

    static func percentiles(_ values: [Double]) -> String {
        let ranks = [("p50", 0.5), ("p99", 0.99), ("worst", 1)].compactMap { name, rank in
            values.percentile(rank).map { "\(name) \(milliseconds($0))" }
        }
        return ranks.joined(separator: ", ") + " (\(values.count))"
    }

    /// Rows of profile, measured, simple, possible and the share of pairs without UDP.
    func profiles() throws -> [[String]] {
        try Profile.all.map { profile in
            let shares = try profile.shares(in: record)
            return [profile.name, shares.measured.map(Self.percent) ?? "not all measured"]
                + [shares.simple, shares.possible, shares.blocked].map(Self.percent)
        }
    }

    private static func percent(_ share: Double) -> String { "\(fixed(100 * share, 1))%" }
}
