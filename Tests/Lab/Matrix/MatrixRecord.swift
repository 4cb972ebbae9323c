import Glibc

/// What a run of the matrix saw, as it is written to a file.
package struct MatrixRecord: Codable, Sendable {
    package struct Row: Codable, Sendable {
        package var id: String
        package var title: String
        package var mapping: String?
        package var filtering: String?
    }

    package var classes: [Row]
    package var cells: [Cell]
    package var settings: PairLab.Settings
    package var trialsPerCell: Int
    /// How many pairs were measured at the same time.
    package var lanes: Int
    package var seconds: Double

    package init(classes: [NATClass], settings: PairLab.Settings, trialsPerCell: Int, lanes: Int) {
        self.classes = classes.map {
            Row(
                id: $0.id, title: $0.title, mapping: $0.behaviour?.mapping.rawValue,
                filtering: $0.behaviour?.filtering.rawValue)
        }
        self.settings = settings
        self.trialsPerCell = trialsPerCell
        self.lanes = lanes
        cells = []
        seconds = 0
    }

    /// The cell of two classes, in whichever order.
    package func cell(_ a: String, _ b: String) -> Cell? {
        cells.first { ($0.a == a && $0.b == b) || ($0.a == b && $0.b == a) }
    }
}

/// The trials of one pair of classes. Times are in milliseconds.
package struct Cell: Codable, Sendable {
    package var a: String
    package var b: String
    /// How the pair can be crossed at best: S, S†, P, B, B2 or R.
    package var crossing: String
    /// Whether simultaneous open alone is expected to cross it.
    package var isSimple: Bool
    /// The share of trials that should be direct.
    package var bar: Double
    package var trials: [Trial] = []
    /// What the laboratory itself failed at; such a trial is in no figure.
    package var faults: [String] = []

    package init(_ a: NATClass, _ b: NATClass) {
        self.a = a.id
        self.b = b.id
        let crossing = NATClass.crossing(a, b)
        self.crossing = crossing.letter
        bar = crossing.bar
        isSimple = NATClass.isSimplyCrossed(a, b)
    }

    package func count(_ outcome: Trial.Outcome) -> Int { trials.count { $0.outcome == outcome } }
    package var unreachable: Int { trials.count { !$0.isReachable } }
    package var directShare: Double { trials.isEmpty ? 0 : Double(count(.direct)) / Double(trials.count) }
    package var firstBytes: [Double] { trials.compactMap(\.firstByte) }
    package var firstReplies: [Double] { trials.compactMap(\.firstReply) }
    package var directs: [Double] { trials.compactMap(\.direct) }
    package var datagrams: [Double] { trials.compactMap { $0.datagrams.map(Double.init) } }

    /// `D` for all direct, `R` all relayed, `X` where nothing worked, `·` without a trial, else how many were direct.
    package var mark: String {
        if trials.isEmpty { return "·" }
        if count(.direct) == trials.count { return "D" }
        if unreachable == trials.count { return "X" }
        if unreachable > 0 { return "X\(unreachable)/\(trials.count)" }
        if count(.relay) == trials.count { return "R" }
        if count(.direct) == 0 { return "½" }
        return "D\(count(.direct))/\(trials.count)"
    }
}

/// Nearest-rank percentiles.
extension [Double] {
    /// The value that the share `rank` of all values does not exceed; nil without values.
    package func percentile(_ rank: Double) -> Double? {
        guard !isEmpty else { return nil }
        let sorted = sorted()
        return sorted[Swift.min(count - 1, Swift.max(0, Int((rank * Double(count)).rounded(.up)) - 1))]
    }

    package var median: Double? { percentile(0.5) }
}
