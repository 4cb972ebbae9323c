/// What a process tells Prometheus: its text format, version 0.0.4.
///
/// Families come one after the other, each with HELP and TYPE and once only. A family without samples is told all the same:
/// that it exists is worth knowing.
package struct Exposition: Sendable {
    package static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    package private(set) var text = ""
    private let prefix: String

    /// - Parameter prefix: what all names begin with, as `warren_`.
    package init(prefix: String) { self.prefix = prefix }

    // MARK: One sample

    package mutating func counter(_ name: String, _ help: String, _ value: UInt64) {
        begin(name, "counter", help)
        sample(name, [], "\(value)")
    }

    package mutating func gauge(_ name: String, _ help: String, _ value: some BinaryInteger) {
        begin(name, "gauge", help)
        sample(name, [], "\(value)")
    }

    /// Nothing but the family where there is no value.
    package mutating func gauge(_ name: String, _ help: String, _ value: Double?) {
        begin(name, "gauge", help)
        if let value { sample(name, [], Self.number(value)) }
    }

    package mutating func gauge(_ name: String, _ help: String, isTrue: Bool) {
        gauge(name, help, isTrue ? 1 : 0)
    }

    // MARK: One sample for each value of a label

    package mutating func counter(
        _ name: String, _ help: String, by label: String, _ samples: some Sequence<(String, UInt64)>
    ) {
        begin(name, "counter", help)
        for (value, count) in samples { sample(name, [(label, value)], "\(count)") }
    }

    package mutating func gauge(
        _ name: String, _ help: String, by label: String, _ samples: some Sequence<(String, Int)>
    ) {
        begin(name, "gauge", help)
        for (value, count) in samples { sample(name, [(label, value)], "\(count)") }
    }

    package mutating func gauge(
        _ name: String, _ help: String, by label: String, _ samples: some Sequence<(String, Double)>
    ) {
        begin(name, "gauge", help)
        for (value, count) in samples { sample(name, [(label, value)], Self.number(count)) }
    }

    /// For each set of labels, which name the same in the same order.
    package mutating func counter(
        _ name: String, _ help: String, samples: some Sequence<([(String, String)], UInt64)>
    ) {
        begin(name, "counter", help)
        for (labels, value) in samples { sample(name, labels, "\(value)") }
    }

    package mutating func gauge(
        _ name: String, _ help: String, samples: some Sequence<([(String, String)], Int)>
    ) {
        begin(name, "gauge", help)
        for (labels, value) in samples { sample(name, labels, "\(value)") }
    }

    /// The families of another, under its own names.
    package mutating func append(_ other: Exposition) { text += other.text }

    /// A counter that is no whole number.
    package mutating func counter(_ name: String, _ help: String, fraction value: Double) {
        begin(name, "counter", help)
        sample(name, [], Self.number(value))
    }

    // MARK: Histograms

    package mutating func histogram(_ name: String, _ help: String, _ histogram: Histogram) {
        begin(name, "histogram", help)
        buckets(name, [], histogram)
    }

    package mutating func histogram(
        _ name: String, _ help: String, by label: String, _ samples: some Sequence<(String, Histogram)>
    ) {
        begin(name, "histogram", help)
        for (value, histogram) in samples { buckets(name, [(label, value)], histogram) }
    }

    // MARK: Private parts

    private mutating func begin(_ name: String, _ type: String, _ help: String) {
        text += "# HELP \(prefix)\(name) "
        Self.escape(help, quotes: false, to: &text)
        text += "\n# TYPE \(prefix)\(name) \(type)\n"
    }

    private mutating func buckets(_ name: String, _ labels: [(String, String)], _ histogram: Histogram) {
        var total: UInt64 = 0
        for (bound, count) in zip(histogram.bounds.map(Self.number) + ["+Inf"], histogram.counts) {
            total += count
            sample("\(name)_bucket", labels + [("le", bound)], "\(total)")
        }
        sample("\(name)_sum", labels, Self.number(histogram.sum))
        sample("\(name)_count", labels, "\(total)")
    }

    private mutating func sample(_ name: String, _ labels: [(String, String)], _ value: String) {
        text += prefix
        text += name
        if !labels.isEmpty {
            var separator = "{"
            for (label, value) in labels {
                text += "\(separator)\(label)=\""
                Self.escape(value, quotes: true, to: &text)
                text += "\""
                separator = ","
            }
            text += "}"
        }
        text += " \(value)\n"
    }

    /// A backslash and a line break are escaped everywhere, a quote in a label's value.
    private static func escape(_ value: String, quotes: Bool, to text: inout String) {
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\"" where quotes: text += "\\\""
            default: text.unicodeScalars.append(scalar)
            }
        }
    }

    /// As Go's strconv.ParseFloat reads it.
    static func number(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
        return "\(value)"
    }
}
