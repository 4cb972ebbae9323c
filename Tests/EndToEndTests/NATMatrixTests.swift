import Control
import Lab
import Testing

extension EndToEnd {
    /// Pairs of NATs with the programs that are shipped: a part of what `make natlab` does.
    @Suite struct NATMatrix {
        static let classes = ["full-cone", "restricted", "port-restricted", "cgn", "symmetric-eif", "symmetric"]

        @Test(.timeLimit(.minutes(3)))
        func `every pair of six NATs is reachable, and direct where simultaneous open is enough`() throws {
            try withPairLab { lab in
                let classes = try Self.classes.map { try NATClass.named($0) }
                var directs: [Double] = []
                for (row, a) in classes.enumerated() {
                    for (column, b) in classes.enumerated() where column >= row {
                        try lab.install(a, b)
                        let mustBeDirect = NATClass.isSimplyCrossed(a, b)
                        let trial = try lab.trial(caller: (row + column) % 2, waitsForDirect: mustBeDirect)
                        #expect(trial.isReachable, "\(a.id) and \(b.id): \(trial)")
                        guard mustBeDirect else { continue }
                        #expect(trial.outcome == .direct, "\(a.id) and \(b.id): \(trial)")
                        #expect(trial.lost == 0, "\(a.id) and \(b.id): \(trial)")
                        directs.append(trial.direct ?? .infinity)
                    }
                }
                let slowest = milliseconds(directs.max() ?? .nan)
                figure("direct", "\(directs.count) pairs, the slowest after \(slowest)")
            }
        }

        @Test func `two agents with IPv6 meet by it, where neither can be reached by IPv4`() throws {
            try withPairLab { lab in
                let kind = try NATClass.named("ipv6")
                try lab.install(kind, kind)
                let trial = try lab.trial(caller: 0)
                #expect(trial.outcome == .direct, "\(trial)")
                let peer = try #require(lab.peer(of: lab.pods[0], at: try lab.mesh.virtualIPv6(of: lab.pods[1])))
                #expect(peer.endpoint == "[\(Plan.siteB.podIPv6(2))]:\(Plan.tunnelPort)")
            }
        }

        @Test func `a cold peer 40 ms away answers within two round trips to the relay and little more`() throws {
            try withPairLab { lab in
                let kind = try NATClass.named("port-restricted")
                try lab.install(kind, kind)
                try lab.setDelay(20)
                for caller in 0...1 {
                    let trial = try lab.trial(caller: caller)
                    let (first, reply) = (try #require(trial.firstByte), try #require(trial.firstReply))
                    #expect(first >= 40)
                    #expect(first <= 400)
                    #expect(reply <= 500)
                    figure(
                        "cold peer at 40 ms",
                        "first byte \(milliseconds(first)) (wanted 180 ms), reply \(milliseconds(reply)) (220 ms)")
                }
            }
        }
    }
}

/// Two joined pods behind NATs that can be exchanged.
func withPairLab(_ settings: PairLab.Settings = PairLab.Settings(), _ body: (PairLab) throws -> Void) throws {
    let sandbox = try Sandbox.unique()
    Interruption.cleanUp { sandbox.tearDown() }
    defer { sandbox.tearDown() }
    let lab = try PairLab(in: sandbox, programs: try Programs.folder(), settings)
    do {
        try body(lab)
    } catch {
        printLogs(lab.mesh)
        throw error
    }
    #expect(lab.tearDown() == [])
}
