import Addressing
import Testing
import Timing

@testable import Traversal

/// What two agents decide, each for itself.
@Suite struct PunchPlanTests {
    private static let behaviors: [NATBehavior] = {
        var behaviors = [NATBehavior(), NATBehavior(.blocked), NATBehavior(.none, .unknown)]
        let allocations: [NATBehavior.Allocation] = [.sequential(step: 1), .block(2000...2063), .random]
        for filtering in NATBehavior.Filtering.allCases {
            behaviors.append(NATBehavior(.endpointIndependent, filtering, .preserving))
            for allocation in allocations {
                behaviors.append(NATBehavior(.addressAndPortDependent, filtering, allocation))
                behaviors.append(NATBehavior(.addressDependent, filtering, allocation))
            }
        }
        return behaviors
    }()

    @Test func `when one opens the other sprays, and when one does nothing so does the other`() {
        for first in Self.behaviors {
            for second in Self.behaviors {
                let one = PunchPlan(local: first, remote: second, isLower: true)
                let other = PunchPlan(local: second, remote: first, isLower: false)
                switch (one.role, other.role) {
                case (.none, .none): break
                case (.opens(let opening), .sprays(let spray)), (.sprays(let spray), .opens(let opening)):
                    if case .ahead = opening.target {
                        #expect(spray.tellsNextPort)
                    } else {
                        #expect(!spray.tellsNextPort)
                    }
                    #expect((1...5).contains(spray.sockets))
                default: Issue.record("\(first) and \(second): \(one) and \(other)")
                }
                #expect(one.isCertain == other.isCertain)
            }
        }
    }

    @Test func `nothing is opened where plain opening does it or nothing can`() {
        let random = NATBehavior(.addressAndPortDependent, .addressAndPortDependent, .random)
        let easy = NATBehavior(.endpointIndependent, .addressDependent, .preserving)
        for other in [easy, random, NATBehavior(.blocked), NATBehavior()] {
            #expect(PunchPlan(local: random, remote: other, isLower: true).role == .none)
        }
        let block = NATBehavior(.addressAndPortDependent, .addressAndPortDependent, .block(2000...2063))
        #expect(PunchPlan(local: block, remote: random, isLower: true).role == .none)
    }

    @Test func `the port of a sequential NAT is between what came before and after`() {
        var opening = OpeningState(
            kind: .sequential(step: 2), sockets: [SocketID(number: 5)], targets: [HostileBench.place(1, port: 1)],
            opener: [],
            hops: nil, next: .zero, end: .zero)
        #expect(opening.ports(step: 2) == nil)
        opening.portBefore = 3000
        #expect(opening.ports(step: 2)! == (3002, 9))
        opening.portAfter = 3008
        #expect(opening.ports(step: 2)! == (3002, 3))
        // Fewer than were sent.
        opening.portAfter = 3002
        #expect(opening.ports(step: 2)! == (3002, 9))
        (opening.portBefore, opening.portAfter) = (nil, 3008)
        #expect(opening.ports(step: 2)! == (2990, 9))
        // The sequence began anew in between.
        (opening.portBefore, opening.portAfter) = (65534, 1026)
        #expect(opening.ports(step: 2) == nil || opening.ports(step: 2)!.first >= 1024)
    }

    @Test func `a spray tries each port once, and few ports again`() {
        let first = HostileBench.place(1, port: 1024)
        let large = SprayState(
            Call.Opened(first: first, count: 64512), sockets: [.homeIPv4], ownSockets: [], seed: 77, now: .zero)
        #expect(large.total == Limits.sprayProbes)
        #expect(Set((0..<large.total).compactMap { large.route($0)?.remote.port }).count == Limits.sprayProbes)
        let whole = (0..<64512).compactMap { large.route($0)?.remote.port }
        #expect(Set(whole).count == 64512)
        let small = SprayState(
            Call.Opened(first: first, step: 2, count: 10), sockets: [.homeIPv4], ownSockets: [], seed: nil, now: .zero)
        #expect((0..<10).map { small.route($0)?.remote.port } == (0..<10).map { 1024 + 2 * $0 })
        #expect(small.total == 30)
        let several = SprayState(
            Call.Opened(first: first, count: 80), sockets: [.homeIPv4, SocketID(number: 4)], ownSockets: [], seed: 3,
            now: .zero)
        #expect(Set((0..<160).compactMap { several.route($0) }).count == 160)
    }
}
