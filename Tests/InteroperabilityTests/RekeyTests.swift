import Lab
import Testing

extension Interoperability {
    /// New keys come every two minutes, and nobody notices.
    @Suite struct Rekey {
        /// Two tunnels over one cable: we initiate in the first, the other implementation in the second.
        @Test(.timeLimit(.minutes(4)))
        func `traffic over a rekey loses nothing, whoever initiates`() async throws {
            try await withCable { cable in
                let pairs = [
                    (
                        initiator: try End(.ours, at: cable.a, number: 1, network: 1),
                        responder: try End(.wireguardGo, at: cable.b, number: 2, network: 1)
                    ),
                    (
                        initiator: try End(.wireguardGo, at: cable.a, number: 1, network: 2),
                        responder: try End(.ours, at: cable.b, number: 2, network: 2)
                    ),
                ]
                var pings: [ChildProcess] = []
                for (index, pair) in pairs.enumerated() {
                    let port = UInt16(1001 + index)
                    for end in [pair.initiator, pair.responder] {
                        try end.start()
                        try end.setUp(port: port)
                    }
                    try pair.responder.add(pair.initiator)
                    try pair.initiator.add(pair.responder, endpoint: cable.b.endpoint(port))
                    try pair.initiator.reach(pair.responder)
                    pings.append(try pair.initiator.home.startPing(pair.responder.ipv6, interval: 0.02))
                    pings.append(try pair.responder.home.startPing(pair.initiator.ipv4, interval: 0.02))
                }
                let start = Clock.now
                let ends = pairs.flatMap { [$0.initiator, $0.responder] }
                let first = try ends.map { try $0.peer().latestHandshake }
                var second = first
                while !zip(second, first).allSatisfy({ $0 > $1 }) {
                    try #require(Clock.now - start < 140, "no second handshake at an end: \(first), \(second)")
                    try await Task.sleep(for: .milliseconds(500))
                    second = try ends.map { try $0.peer().latestHandshake }
                }
                for (before, after) in zip(first, second) { #expect((119...135).contains(after - before)) }
                // Long enough that the old keys' last packets are through.
                while Clock.now - start <= 128 { try await Task.sleep(for: .milliseconds(500)) }
                for ping in pings {
                    let report = try ping.pingReport()
                    #expect(report.sent > 5000)
                    let lost = End.lost(in: ping.standardOutput)
                    #expect(lost == [])
                    #expect(report.longestGap < 1)
                    figure(
                        "ping over a rekey",
                        "\(lost.count) of \(report.sent) lost, longest gap \(Int(report.longestGap * 1000)) ms")
                }
            }
        }
    }
}
