import Addressing
import NATBox
import Testing
import Timing

@Suite struct TranslatorTests {
    static let host = Packet.Place(IPv4Address(10, 1, 0, 2), 4000)
    static let remote = Packet.Place(IPv4Address(192, 0, 2, 1), 3478)
    static let otherPort = Packet.Place(IPv4Address(192, 0, 2, 1), 3479)
    static let stranger = Packet.Place(IPv4Address(192, 0, 2, 2), 3478)
    static let outside = IPv4Address(203, 0, 113, 11)

    static func behaviour(_ change: (inout BoxBehaviour) -> Void = { _ in }) -> BoxBehaviour {
        var behaviour = BoxBehaviour(inside: "10.1.0.0/24", outside: [outside.description])
        change(&behaviour)
        return behaviour
    }

    static func box(_ change: (inout BoxBehaviour) -> Void = { _ in }) throws -> Box {
        Box(try #require(Translator(behaviour(change), seed: 7)))
    }

    @Test func `endpoint-independent mappings show all destinations one place, others do not`() throws {
        for (mapping, count) in [
            (BoxBehaviour.Dependence.endpoint, 1), (.address, 2), (.addressAndPort, 3),
        ] {
            let box = try Self.box {
                $0.mapping = mapping
                $0.allocation = .random
            }
            var places: Set<Packet.Place> = []
            for remote in [Self.remote, Self.otherPort, Self.stranger] {
                places.insert(try #require(box.send(Self.host, remote)).source)
            }
            #expect(places.count == count)
            #expect(places.allSatisfy { $0.address == Self.outside })
        }
    }

    @Test func `a filter lets in whom the inside has sent to, by what it looks at`() throws {
        for (filtering, accepted) in [
            (BoxBehaviour.Dependence.endpoint, [true, true, true]), (.address, [true, true, false]),
            (.addressAndPort, [true, false, false]),
        ] {
            let box = try Self.box { $0.filtering = filtering }
            let mapped = try #require(box.send(Self.host, Self.remote)).source
            for (remote, isAccepted) in zip([Self.remote, Self.otherPort, Self.stranger], accepted) {
                let verdict = box.translate(try .udp(remote, mapped), now: .zero)
                if isAccepted {
                    guard case .inward(let packet) = verdict else {
                        Issue.record("\(filtering): \(verdict)")
                        continue
                    }
                    #expect(packet.destination == Self.host)
                    #expect(packet.hasValidChecksums)
                } else {
                    #expect(verdict == .dropped(.filtered))
                }
            }
        }
    }

    @Test func `ports are kept, counted or drawn, and never given twice`() throws {
        let preserving = try Self.box()
        #expect(preserving.send(Self.host, Self.remote)?.source.port == 4000)
        // A second host with the same port gets another, and keeps it for every destination.
        let sibling = Packet.Place(IPv4Address(10, 1, 0, 3), 4000)
        let other = try #require(preserving.send(sibling, Self.remote)).source.port
        #expect(other != 4000)
        #expect(preserving.send(sibling, Self.stranger)?.source.port == other)

        let counting = try Self.box {
            $0.mapping = .addressAndPort
            $0.allocation = .sequential
            ($0.firstPort, $0.lastPort) = (20000, 20002)
        }
        let ports = [Self.remote, Self.otherPort, Self.stranger].map { counting.send(Self.host, $0)?.source.port }
        #expect(ports == [20000, 20001, 20002])
        let fourth = counting.translate(try .udp(Self.host, .init(Self.stranger.address, 9)), now: .zero)
        #expect(fourth == .dropped(.noPort))

        let drawing = try Self.box {
            $0.mapping = .addressAndPort
            $0.allocation = .random
            ($0.firstPort, $0.lastPort) = (30000, 30063)
        }
        let drawn = (1...64).compactMap { drawing.send(Self.host, .init(Self.remote.address, $0))?.source.port }
        #expect(Set(drawn) == Set(30000...30063))
    }

    @Test func `a mapping ends after its lifetime, which only what goes out prolongs`() throws {
        for (refreshesOnInbound, survives) in [(false, false), (true, true)] {
            let box = try Self.box {
                $0.lifetime = 10
                $0.refreshesOnInbound = refreshesOnInbound
            }
            let mapped = try #require(box.send(Self.host, Self.remote)).source
            for second: UInt64 in [8, 16, 24] {
                _ = box.translate(try .udp(Self.remote, mapped), now: .zero + .seconds(second))
            }
            let last = box.translate(try .udp(Self.remote, mapped), now: .zero + .seconds(30))
            if survives { #expect(last != .dropped(.noMapping)) } else { #expect(last == .dropped(.noMapping)) }
        }
    }

    @Test func `a full table refuses, a reboot forgets, a rebinding changes the port`() throws {
        let full = try Self.box {
            $0.mapping = .addressAndPort
            $0.capacity = 2
        }
        #expect(full.send(Self.host, Self.remote) != nil)
        #expect(full.send(Self.host, Self.otherPort) != nil)
        #expect(full.send(Self.host, Self.stranger) == nil)
        #expect(full.drops == [.tableFull: 1])
        full.reboot()
        #expect(full.send(Self.host, Self.stranger) != nil)

        let moving = try Self.box {
            $0.allocation = .random
            $0.rebindsAfter = 5
        }
        let first = try #require(moving.send(Self.host, Self.remote)).source.port
        #expect(moving.send(Self.host, Self.remote, at: 4)?.source.port == first)
        #expect(moving.send(Self.host, Self.remote, at: 6)?.source.port != first)
    }

    @Test func `a hairpin reaches the neighbour, with the outside place as its source`() throws {
        let box = try Self.box { $0.filtering = .endpoint }
        let mapped = try #require(box.send(Self.host, Self.remote)).source
        let sibling = Packet.Place(IPv4Address(10, 1, 0, 3), 5000)
        #expect(box.translate(try .udp(sibling, mapped), now: .zero) == .dropped(.noHairpin))

        let turning = try Self.box {
            $0.filtering = .endpoint
            $0.hairpins = true
        }
        _ = turning.send(Self.host, Self.remote)
        guard case .inward(let packet) = turning.translate(try .udp(sibling, mapped), now: .zero) else {
            Issue.record("not turned")
            return
        }
        #expect(packet.destination == Self.host)
        #expect(packet.source == Packet.Place(Self.outside, 5000))
        #expect(packet.hasValidChecksums)
    }

    @Test func `an error about a mapping's packet reaches the host that sent it`() throws {
        for passes in [true, false] {
            let box = try Self.box { $0.passesErrors = passes }
            let sent = try #require(box.send(Self.host, Self.remote))
            let error = try Packet.timeExceeded(about: sent, from: IPv4Address(198, 18, 0, 1))
            let verdict = box.translate(error, now: .zero)
            guard passes else {
                #expect(verdict == .dropped(.errorRefused))
                continue
            }
            guard case .inward(let packet) = verdict else {
                Issue.record("\(verdict)")
                continue
            }
            #expect(packet.destination.address == Self.host.address)
            #expect(packet.citedFlow?.source == Self.host)
            #expect(packet.citedFlow?.destination == Self.remote)
            #expect(packet.hasValidChecksums)
        }
    }

    @Test func `what is too large, foreign or malformed is dropped`() throws {
        let box = try Self.box { $0.blackHoleAbove = 100 }
        #expect(box.translate(try .udp(Self.host, Self.remote, payload: 80), now: .zero) == .dropped(.tooLarge))
        #expect(box.translate(try .udp(Self.remote, Self.stranger), now: .zero) == .dropped(.foreign))
        let whole = try Packet.udp(Self.host, Self.remote).bytes
        for length in 0..<28 { #expect(Packet(Array(whole.prefix(length))) == nil) }
        var fragment = whole
        fragment[6] = 0x20
        #expect(Packet(fragment) == nil)
        var random = SplitMix(1)
        for _ in 0..<20_000 {
            var bytes = (0..<Int.random(in: 20...80, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            (bytes[0], bytes[9]) = (0x45, [1, 6, 17][Int.random(in: 0...2, using: &random)])
            (bytes[2], bytes[3], bytes[6], bytes[7]) = (0, UInt8(bytes.count), 0, 0)
            if let packet = Packet(bytes) { _ = box.translate(packet, now: .zero) }
        }
    }
}

/// A translator that expectations can use.
final class Box {
    private var translator: Translator
    init(_ translator: Translator) { self.translator = translator }

    var drops: [Translator.Reason: Int] { translator.drops }
    func reboot() { translator.reboot() }
    func translate(_ packet: Packet, now: MonotonicTime) -> Translator.Verdict {
        translator.translate(packet, now: now)
    }

    /// What goes out for a datagram at that second; nil when it is dropped.
    func send(_ source: Packet.Place, _ destination: Packet.Place, at second: UInt64 = 0) -> Packet? {
        guard let packet = try? Packet.udp(source, destination),
            case .outward(let sent) = translate(packet, now: .zero + .seconds(second)), sent.hasValidChecksums
        else { return nil }
        return sent
    }
}
