import TestSupport
import Testing

@testable import Metrics

@Suite struct ExpositionTests {
    @Test func `a page reads as what was written`() throws {
        var page = Exposition(prefix: "warren_")
        page.counter("things_total", "Things\\ that\nhappened.", 7)
        page.gauge("level", "A level.", -2)
        page.gauge("unknown", "Not known yet.", nil as Double?)
        page.gauge("ratio", "A part.", 0.25)
        page.counter("drops_total", "Drops.", by: "reason", [("a", 1), ("b", 2)])
        page.gauge("pairs", "Pairs.", samples: [([("x", "1"), ("y", "2")], 3)])
        let text = try ExpositionText(page.text)
        #expect(text.value("warren_things_total") == 7)
        #expect(text.families[0].help == "Things\\\\ that\\nhappened.")
        #expect(text.value("warren_level") == -2)
        #expect(text.names.contains("warren_unknown") && text.value("warren_unknown") == nil)
        #expect(text.value("warren_ratio") == 0.25)
        #expect(text.value("warren_drops_total", ["reason": "b"]) == 2)
        #expect(text.total("warren_drops_total") == 3)
        #expect(text.value("warren_pairs", ["x": "1", "y": "2"]) == 3)
    }

    @Test(arguments: ["plain", "a\"b", "a\\b", "a\nb", "\\n", "ü€𝄞", "{x=\"y\"} 1", "\r\n"])
    func `whatever a label says, it is its value and nothing else`(_ value: String) throws {
        var page = Exposition(prefix: "")
        page.counter("x_total", "X.", by: "label", [(value, UInt64(1))])
        let samples = try ExpositionText(page.text).families[0].samples
        #expect(samples.map(\.name) == ["x_total"])
        #expect(samples.map(\.labels) == [["label": value]] && samples.map(\.value) == [1])
    }

    @Test func `a histogram's buckets are cumulative`() throws {
        var histogram = Histogram([0.1, 1])
        for value in [0.05, 0.1, 0.5, 3] { histogram.observe(value) }
        var page = Exposition(prefix: "")
        page.histogram("wait_seconds", "Waits.", by: "of", [("a", histogram), ("b", Histogram([1]))])
        let text = try ExpositionText(page.text)
        #expect(text.value("wait_seconds_bucket", ["of": "a", "le": "0.1"]) == 2)
        #expect(text.value("wait_seconds_bucket", ["of": "a", "le": "1.0"]) == 3)
        #expect(text.value("wait_seconds_bucket", ["of": "a", "le": "+Inf"]) == 4)
        #expect(text.value("wait_seconds_sum", ["of": "a"]) == 3.65)
        #expect(text.value("wait_seconds_count", ["of": "b"]) == 0)
    }

    @Test func `numbers are written as Prometheus reads them`() {
        #expect(Exposition.number(.infinity) == "+Inf")
        #expect(Exposition.number(-.infinity) == "-Inf")
        #expect(Exposition.number(.nan) == "NaN")
        #expect(Exposition.number(1e-7) == "1e-07")
    }

    /// The reader of the tests must be able to fail.
    @Test(arguments: [
        "x 1\n", "# HELP x X.\nx 1\n", "# HELP x X.\n# TYPE x gauge\nx 1", "# HELP x X.\n# TYPE x gauge\ny 1\n",
        "# HELP x X.\n# TYPE x gauge\nx 1\nx 2\n", "# HELP x X.\n# TYPE x gauge\nx{a=\"b} 1\n",
        "# HELP x X.\n# TYPE x gauge\nx{a=\"\\t\"} 1\n", "# HELP x X.\n# TYPE x counter\nx 1\n",
        "# HELP x_total X.\n# TYPE x_total counter\nx_total -1\n", "# HELP x X.\n# TYPE x gauge\nx inf\n",
        "# HELP 1x X.\n# TYPE 1x gauge\n",
        "# HELP x X.\n# TYPE x histogram\nx_bucket{le=\"1\"} 2\nx_bucket{le=\"+Inf\"} 1\nx_sum 1\nx_count 1\n",
        "# HELP x X.\n# TYPE x gauge\n# HELP x X.\n# TYPE x gauge\n",
    ])
    func `what is no page is refused`(_ text: String) {
        #expect(throws: ExpositionText.Malformed.self) { try ExpositionText(text) }
    }
}
