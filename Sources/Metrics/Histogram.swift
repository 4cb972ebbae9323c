/// Observations counted in buckets, as Prometheus' histograms are. Not safe for concurrent use.
package struct Histogram: Equatable, Sendable {
    /// Upper bounds, ascending; what is above them all is counted too.
    package let bounds: [Double]
    /// For each bound those above the one before, and last those above all.
    package private(set) var counts: [UInt64]
    package private(set) var sum = 0.0

    package init(_ bounds: [Double]) {
        self.bounds = bounds
        counts = Array(repeating: 0, count: bounds.count + 1)
    }

    package mutating func observe(_ value: Double) {
        counts[bounds.firstIndex { value <= $0 } ?? bounds.count] += 1
        sum += value
    }

    package var count: UInt64 { counts.reduce(0, +) }

    /// For round trips in a network, in seconds.
    package static let roundTripBounds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5]
}
