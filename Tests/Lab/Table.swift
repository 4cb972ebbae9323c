/// Rows of text in aligned columns.
package struct Table: Sendable {
    private var rows: [[String]]

    package init(header: [String]) { rows = [header] }

    package mutating func add(_ row: [String]) { rows.append(row) }

    /// The lines, the header first and a rule below it.
    package var lines: [String] {
        let columns = rows.map(\.count).max() ?? 0
        let widths = (0..<columns).map { column in
            rows.map { column < $0.count ? $0[column].count : 0 }.max() ?? 0
        }
        var lines = rows.map { row in
            let cells = row.enumerated().map { index, cell in
                cell + String(repeating: " ", count: widths[index] - cell.count)
            }
            return String(cells.joined(separator: "  ").reversed().drop { $0 == " " }.reversed())
        }
        lines.insert(widths.map { String(repeating: "─", count: $0) }.joined(separator: "  "), at: 1)
        return lines
    }
}

/// `0.123 s` below ten seconds, else `12.3 s`.
package func seconds(_ value: Double) -> String { value < 10 ? "\(fixed(value, 3)) s" : "\(fixed(value, 1)) s" }

/// `0.42 ms`, `17 ms`.
package func milliseconds(_ value: Double) -> String {
    value.isNaN ? "no answer" : value < 10 ? "\(fixed(value, 2)) ms" : "\(fixed(value, 0)) ms"
}

/// `value` with `digits` digits after the point.
package func fixed(_ value: Double, _ digits: Int) -> String {
    guard value.isFinite else { return "\(value)" }
    var scale = 1
    for _ in 0..<digits { scale *= 10 }
    let scaled = Int((abs(value) * Double(scale)).rounded())
    let sign = value < 0 && scaled > 0 ? "-" : ""
    if digits == 0 { return "\(sign)\(scaled)" }
    let fraction = String(scaled % scale)
    return "\(sign)\(scaled / scale)." + String(repeating: "0", count: digits - fraction.count) + fraction
}
