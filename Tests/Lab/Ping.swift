import Foundation

/// What `ping -D` printed.
package struct PingReport: Sendable {
    package let sent: Int
    package let received: Int
    /// Milliseconds.
    package let minimum: Double
    package let average: Double
    /// Arrival of each reply, in seconds since 1970.
    package let arrivals: [Double]
    /// Round trip of the first request, in milliseconds; nil when it got no reply.
    package let first: Double?
    /// The requests without a reply, counted from 1.
    package let missing: [Int]

    package var lost: Int { sent - received }

    /// The longest time between two replies, in seconds.
    package var longestGap: Double {
        zip(arrivals, arrivals.dropFirst()).map { $1 - $0 }.max() ?? .infinity
    }

    /// - Parameter text: standard output of `ping -D`, ended by itself or by SIGINT.
    package init(_ text: String) throws(LabError) {
        let lines = text.split(separator: "\n")
        guard let summary = lines.first(where: { $0.contains("packets transmitted") }) else {
            throw .unexpected("ping printed: \(text)")
        }
        let counts = summary.split(separator: " ").compactMap { Int($0) }
        sent = counts.first ?? 0
        received = counts.dropFirst().first ?? 0
        let times = lines.last { $0.hasPrefix("rtt ") }?
            .split(separator: "=").last?.split(separator: "/")
            .compactMap { Double($0.trimmingCharacters(in: .whitespaces)) }
        minimum = times?.first ?? .nan
        average = times?.dropFirst().first ?? .nan
        arrivals = Self.arrivals(in: text)
        first = Self.first(in: text)
        missing = Set(1..<(sent + 1)).subtracting(lines.compactMap { Self.sequence($0) }).sorted()
    }

    /// Which request a line is the reply to.
    private static func sequence(_ line: Substring) -> Int? {
        guard line.contains("bytes from") else { return nil }
        return line.split(separator: " ").first { $0.hasPrefix("icmp_seq=") }.flatMap { Int($0.dropFirst(9)) }
    }

    /// The round trip of request 1 in the output of a `ping` that may still run.
    package static func first(in text: String) -> Double? {
        let line = text.split(separator: "\n").first { $0.contains("icmp_seq=1 ") && $0.contains("bytes from") }
        return line?.split(separator: " ").first { $0.hasPrefix("time=") }.flatMap { Double($0.dropFirst(5)) }
    }

    /// The stamp of each reply so far in the output of a `ping -D` that still runs.
    package static func arrivals(in text: String) -> [Double] {
        text.split(separator: "\n").filter { $0.contains("bytes from") }.compactMap { stamp($0) }
    }

    private static func stamp(_ line: Substring) -> Double? {
        guard line.first == "[", let end = line.firstIndex(of: "]") else { return nil }
        return Double(line[line.index(after: line.startIndex)..<end])
    }
}

extension Place {
    /// Pings `count` times, `interval` seconds apart.
    package func ping(_ address: String, count: Int, interval: Double = 0.05) throws -> PingReport {
        let words = ["ping", "-D", "-n", "-c", "\(count)", "-i", "\(interval)", "-W", "2", address]
        return try PingReport(result(of: words, timeout: Double(count) * interval + 15).standardOutput)
    }

    /// Starts a ping without end; stop it with SIGINT, then read its report.
    package func startPing(_ address: String, interval: Double = 0.02) throws -> ChildProcess {
        try spawn(["stdbuf", "-oL", "ping", "-D", "-n", "-i", "\(interval)", address])
    }
}

extension ChildProcess {
    /// Ends a `startPing` and reads it.
    package func pingReport() throws -> PingReport {
        signal(2)
        try wait(timeout: 5)
        return try PingReport(standardOutput)
    }
}
