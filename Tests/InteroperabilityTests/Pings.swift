import Lab

extension End {
    /// Pings `address` until `count` replies came; the sequence numbers that none came for.
    ///
    /// (`ping -c` does not wait for its last replies longer than two round trips: on a busy machine they count as lost.)
    func lost(to address: String, count: Int = 20, interval: Double = 0.01) throws -> [Int] {
        let ping = try home.startPing(address, interval: interval)
        defer { ping.stop() }
        try waitUntil("\(count) replies from \(address)", timeout: 10 + Double(count) * interval) {
            PingReport.arrivals(in: ping.standardOutput).count >= count
        }
        _ = try ping.pingReport()
        return Self.lost(in: ping.standardOutput)
    }

    /// The sequence numbers that no reply came for, before the last one that came: when `ping` is told to stop, requests
    /// may still be under way.
    static func lost(in text: String) -> [Int] {
        let received = Set(
            text.split(separator: "\n").compactMap { line in
                line.split(separator: " ").first { $0.hasPrefix("icmp_seq=") }.flatMap { Int($0.dropFirst(9)) }
            })
        return (1...max(received.max() ?? 1, 1)).filter { !received.contains($0) }
    }
}
