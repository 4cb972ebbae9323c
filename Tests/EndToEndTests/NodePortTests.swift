import Lab
import Testing

extension EndToEnd {
    /// Pods behind a node that gives each destination another random port, where the plugin maps a port of the node.
    @Suite struct NodePorts {
        @Test(.timeLimit(.minutes(4)))
        func `the node's port makes pods direct that nothing else does, without a spray`() throws {
            try withPairLab { lab in
                for id in ["port-restricted", "symmetric", "node-mapped"] {
                    try lab.install(.named("node-mapped"), .named(id))
                    var trials: [Trial] = []
                    for number in 0..<10 { trials.append(try lab.trial(caller: number % 2)) }
                    let times = trials.compactMap(\.direct).sorted()
                    let datagrams = trials.compactMap(\.datagrams).max() ?? .max
                    let direct = trials.count { $0.outcome == .direct }
                    print(
                        "node-mapped × \(id): direct \(direct)/\(trials.count), median "
                            + "\(milliseconds(times.isEmpty ? .nan : times[times.count / 2])), slowest "
                            + "\(milliseconds(times.last ?? .nan)), at most \(datagrams) datagrams between the sites")
                    #expect(direct == trials.count, "\(trials.filter { $0.outcome != .direct })")
                    // A spray alone would be hundreds.
                    #expect(datagrams <= 60)
                    #expect(trials.allSatisfy { $0.lost ?? 0 == 0 })
                }
                // What makes the difference: the same nodes without the map.
                for network in lab.networks { try network.router.run("nft", "delete", "table", "ip", "warren") }
                let trial = try lab.trial(caller: 0)
                #expect(trial.outcome == .relay, "\(trial)")
            }
        }
    }
}
