/// Prometheus' text format 0.0.4, read strictly: what a server may not send is an error here, also where Prometheus is
/// lenient.
package struct ExpositionText: Sendable {
    package struct Sample: Equatable, Sendable {
        package let name: String
        package let labels: [String: String]
        package let value: Double
    }

    package struct Family: Sendable {
        package let name: String
        package let type: String
        package let help: String
        package var samples: [Sample] = []
    }

    package struct Malformed: Error, CustomStringConvertible {
        package let line: String
        package let why: String
        package var description: String { "\(why): \(line)" }
    }

    package private(set) var families: [Family] = []

    package init(_ text: String) throws {
        guard text.hasSuffix("\n") || text.isEmpty else { throw Malformed(line: "", why: "no line break at the end") }
        var help: (name: String, text: String)?
        for line in text.split(separator: "\n", omittingEmptySubsequences: false).dropLast().map(String.init) {
            func fail(_ why: String) -> Malformed { Malformed(line: line, why: why) }
            if line.hasPrefix("# HELP ") {
                let parts = line.dropFirst(7).split(separator: " ", maxSplits: 1, omittingEmptySubsequences: false)
                guard help == nil, parts.count == 2, Self.isName(parts[0]) else { throw fail("HELP") }
                guard !families.contains(where: { $0.name == parts[0] }) else { throw fail("a family twice") }
                help = (String(parts[0]), String(parts[1]))
            } else if line.hasPrefix("# TYPE ") {
                let parts = line.dropFirst(7).split(separator: " ", omittingEmptySubsequences: false)
                guard let named = help, parts.count == 2, parts[0] == named.name else {
                    throw fail("TYPE after its HELP")
                }
                guard ["counter", "gauge", "histogram"].contains(parts[1]) else { throw fail("type") }
                if parts[1] == "counter", !named.name.hasSuffix("_total") { throw fail("a counter's name") }
                families.append(Family(name: named.name, type: String(parts[1]), help: named.text))
                help = nil
            } else {
                guard help == nil, !families.isEmpty else { throw fail("a sample outside of a family") }
                let sample = try Self.sample(line)
                let family = families[families.count - 1]
                let names =
                    family.type == "histogram"
                    ? ["_bucket", "_sum", "_count"].map { family.name + $0 } : [family.name]
                guard names.contains(sample.name) else { throw fail("not of family \(family.name)") }
                guard !family.samples.contains(where: { $0.name == sample.name && $0.labels == sample.labels }) else {
                    throw fail("a sample twice")
                }
                if family.type == "counter", !(sample.value >= 0) { throw fail("a counter below zero") }
                families[families.count - 1].samples.append(sample)
            }
        }
        guard help == nil else { throw Malformed(line: "", why: "HELP without TYPE") }
        for family in families where family.type == "histogram" { try Self.checkHistogram(family) }
    }

    package var names: Set<String> { Set(families.map(\.name)) }

    /// The names of samples, histograms' parts too.
    package var seriesNames: Set<String> {
        Set(
            families.flatMap { family in
                family.type == "histogram"
                    ? ["_bucket", "_sum", "_count"].map { family.name + $0 } : [family.name]
            })
    }

    /// The one sample with these labels; nil when there is none.
    package func value(_ name: String, _ labels: [String: String] = [:]) -> Double? {
        families.lazy.flatMap(\.samples).first { $0.name == name && $0.labels == labels }?.value
    }

    /// All samples of that name together.
    package func total(_ name: String) -> Double {
        families.flatMap(\.samples).filter { $0.name == name }.reduce(0) { $0 + $1.value }
    }

    private static func isName(_ text: some StringProtocol) -> Bool {
        guard let first = text.utf8.first, !(0x30...0x39).contains(first) else { return false }
        return text.utf8.allSatisfy {
            (0x30...0x39).contains($0) || (0x41...0x5a).contains($0) || (0x61...0x7a).contains($0) || $0 == 0x5f
                || $0 == 0x3a
        }
    }

    private static func sample(_ line: String) throws -> Sample {
        func fail(_ why: String) -> Malformed { Malformed(line: line, why: why) }
        var rest = line[...]
        let name = rest.prefix { $0 != "{" && $0 != " " }
        guard isName(name) else { throw fail("name") }
        rest = rest.dropFirst(name.count)
        var labels: [String: String] = [:]
        if rest.first == "{" {
            rest = rest.dropFirst()
            while true {
                let label = rest.prefix { $0 != "=" }
                rest = rest.dropFirst(label.count)
                guard isName(label), !label.contains(":"), rest.hasPrefix("=\"") else { throw fail("label") }
                rest = rest.dropFirst(2)
                var value = ""
                while let next = rest.popFirst(), next != "\"" {
                    guard next == "\\" else {
                        value.append(next)
                        continue
                    }
                    switch rest.popFirst() {
                    case "n": value.append("\n")
                    case "\\": value.append("\\")
                    case "\"": value.append("\"")
                    default: throw fail("escape")
                    }
                }
                guard labels.updateValue(value, forKey: String(label)) == nil else { throw fail("a label twice") }
                switch rest.popFirst() {
                case ",": continue
                case "}": break
                default: throw fail("end of labels")
                }
                break
            }
        }
        guard rest.first == " " else { throw fail("a space before the value") }
        let text = rest.dropFirst()
        let value: Double? =
            switch text {
            case "+Inf": .infinity
            case "-Inf": -.infinity
            case "NaN": .nan
            default: text.contains(where: { !"0123456789.e+-".contains($0) }) ? nil : Double(text)
            }
        guard let value else { throw fail("value") }
        return Sample(name: String(name), labels: labels, value: value)
    }

    private static func checkHistogram(_ family: Family) throws {
        let groups = Dictionary(grouping: family.samples) { sample in sample.labels.filter { $0.key != "le" } }
        for (labels, samples) in groups {
            func fail(_ why: String) -> Malformed { Malformed(line: "\(family.name) \(labels)", why: why) }
            let buckets = samples.filter { $0.name.hasSuffix("_bucket") }
            let bounds = buckets.compactMap { $0.labels["le"] }.map { $0 == "+Inf" ? .infinity : Double($0) ?? .nan }
            guard bounds.count == buckets.count, bounds.last == .infinity, bounds == bounds.sorted() else {
                throw fail("bounds")
            }
            guard buckets.map(\.value) == buckets.map(\.value).sorted() else { throw fail("counts go down") }
            guard let count = samples.first(where: { $0.name == family.name + "_count" })?.value,
                count == buckets.last?.value, samples.contains(where: { $0.name == family.name + "_sum" })
            else { throw fail("sum and count") }
        }
    }
}
