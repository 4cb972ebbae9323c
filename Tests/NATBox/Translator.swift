import Addressing
package import Timing

/// A network address translator for IPv4 as a value: packets and times in, packets out. No sockets, clocks or threads.
package struct Translator: Sendable {
    package enum Verdict: Sendable, Equatable {
        /// Out to the network, or in to a host.
        case outward(Packet)
        case inward(Packet)
        case dropped(Reason)
    }

    package enum Reason: String, Sendable, CaseIterable {
        case noMapping, filtered, tableFull, noPort, tooLarge, noHairpin, errorRefused, foreign
    }

    struct Mapping {
        let kind: Packet.Kind
        let inside: Packet.Place
        var outside: Packet.Place
        var created: MonotonicTime
        var refreshed: MonotonicTime
        /// Whom the inside has sent to.
        var contacts: Set<Packet.Place> = []
    }

    /// What shares a mapping: the inside place, and the parts of the destination that the behaviour looks at.
    private struct Key: Hashable {
        let kind: Packet.Kind
        let inside: Packet.Place
        let remote: Packet.Place
    }

    private struct Outside: Hashable {
        let kind: Packet.Kind
        let place: Packet.Place
    }

    package let behaviour: BoxBehaviour
    package private(set) var drops: [Reason: Int] = [:]
    private let inside: IPPrefix
    private let outside: [IPv4Address]
    private var random: SplitMix
    private var mappings: [Key: Mapping] = [:]
    private var byOutside: [Outside: Key] = [:]
    private var lastPort: UInt16
    private var nextSweep = MonotonicTime.zero

    /// Nil when an address of the behaviour is none.
    package init?(_ behaviour: BoxBehaviour, seed: UInt64) {
        let outside = behaviour.outside.compactMap { IPv4Address($0) }
        guard let inside = IPPrefix(behaviour.inside), outside.count == behaviour.outside.count,
            behaviour.firstPort > 0, behaviour.firstPort <= behaviour.lastPort
        else { return nil }
        self.behaviour = behaviour
        self.inside = inside
        self.outside = outside
        random = SplitMix(seed)
        lastPort = behaviour.lastPort
    }

    package var count: Int { mappings.count }

    /// Nothing is translated: any packet passes, whatever is in it.
    package var isTransparent: Bool { outside.isEmpty }

    /// Whether an IPv4 packet's source is inside.
    package func isFromInside(_ bytes: [UInt8]) -> Bool {
        guard bytes.count >= 20, bytes[0] >> 4 == 4, let source = IPAddress(bytes: bytes[12..<16]) else { return false }
        return inside.contains(source)
    }

    /// Forgets everything, as a reboot does; a sequence of ports goes on somewhere else.
    package mutating func reboot() {
        mappings.removeAll()
        byOutside.removeAll()
        lastPort = port(at: random.next())
    }

    package mutating func translate(_ packet: Packet, now: MonotonicTime) -> Verdict {
        let verdict = judge(packet, now: now)
        if case .dropped(let reason) = verdict { drops[reason, default: 0] += 1 }
        return verdict
    }

    private mutating func judge(_ packet: Packet, now: MonotonicTime) -> Verdict {
        guard packet.count <= behaviour.blackHoleAbove else { return .dropped(.tooLarge) }
        sweep(now)
        if inside.contains(.v4(packet.source.address)) {
            guard outside.contains(packet.destination.address) else { return outward(packet, now: now) }
            guard behaviour.hairpins, !packet.isError else { return .dropped(.noHairpin) }
            guard case .outward(let turned) = outward(packet, now: now) else { return .dropped(.noPort) }
            return inward(turned, now: now)
        }
        guard outside.contains(packet.destination.address) else { return .dropped(.foreign) }
        return inward(packet, now: now)
    }

    // MARK: Out and in

    private mutating func outward(_ packet: Packet, now: MonotonicTime) -> Verdict {
        if packet.isError { return outwardError(packet) }
        let key = Key(kind: packet.kind, inside: packet.source, remote: seen(packet.destination))
        if let mapping = mappings[key], isWorn(mapping, now) { remove(key) }
        if mappings[key] == nil {
            guard mappings.count < behaviour.capacity else { return .dropped(.tableFull) }
            guard let place = allocate(packet) else { return .dropped(.noPort) }
            byOutside[Outside(kind: packet.kind, place: place)] = key
            mappings[key] = Mapping(
                kind: packet.kind, inside: packet.source, outside: place, created: now, refreshed: now)
        }
        guard var mapping = mappings[key] else { return .dropped(.noMapping) }
        mapping.refreshed = now
        mapping.contacts.insert(packet.destination)
        mappings[key] = mapping
        var packet = packet
        packet.source = mapping.outside
        return .outward(packet)
    }

    private mutating func inward(_ packet: Packet, now: MonotonicTime) -> Verdict {
        if packet.isError { return inwardError(packet) }
        guard let key = byOutside[Outside(kind: packet.kind, place: packet.destination)], var mapping = mappings[key]
        else { return .dropped(.noMapping) }
        guard accepts(mapping, packet.source) else { return .dropped(.filtered) }
        if behaviour.refreshesOnInbound {
            mapping.refreshed = now
            mappings[key] = mapping
        }
        var packet = packet
        packet.destination = mapping.inside
        return .inward(packet)
    }

    /// An error about a packet that a mapping let out.
    private func inwardError(_ packet: Packet) -> Verdict {
        guard behaviour.passesErrors, let flow = packet.citedFlow,
            let key = byOutside[Outside(kind: flow.kind, place: flow.source)], let mapping = mappings[key]
        else { return .dropped(.errorRefused) }
        var packet = packet
        packet.setCited(source: mapping.inside)
        packet.destination = Packet.Place(mapping.inside.address, 0)
        return .inward(packet)
    }

    /// An inside host's error about a packet that a mapping let in.
    private func outwardError(_ packet: Packet) -> Verdict {
        guard behaviour.passesErrors, let flow = packet.citedFlow,
            let mapping = mappings.values.first(where: { $0.kind == flow.kind && $0.inside == flow.destination })
        else { return .dropped(.errorRefused) }
        var packet = packet
        packet.setCited(destination: mapping.outside)
        packet.source = Packet.Place(mapping.outside.address, 0)
        return .outward(packet)
    }

    // MARK: Rules

    /// The parts of a destination that mappings depend on.
    private func seen(_ remote: Packet.Place) -> Packet.Place {
        switch behaviour.mapping {
        case .endpoint: Packet.Place(.any, 0)
        case .address: Packet.Place(remote.address, 0)
        case .addressAndPort: remote
        }
    }

    private func accepts(_ mapping: Mapping, _ remote: Packet.Place) -> Bool {
        switch behaviour.filtering {
        case .endpoint: true
        case .address: mapping.contacts.contains { $0.address == remote.address }
        case .addressAndPort: mapping.contacts.contains(remote)
        }
    }

    private func isWorn(_ mapping: Mapping, _ now: MonotonicTime) -> Bool {
        behaviour.rebindsAfter > 0 && mapping.kind == .udp
            && now.since(mapping.created).seconds >= behaviour.rebindsAfter
    }

    /// TCP's and ICMP's times are those of RFC 5382 and RFC 5508; UDP's is the behaviour's.
    private func lifetime(_ kind: Packet.Kind) -> Double {
        switch kind {
        case .udp: behaviour.lifetime
        case .tcp: 7440
        case .icmp: 60
        }
    }

    private mutating func sweep(_ now: MonotonicTime) {
        guard nextSweep <= now else { return }
        nextSweep = now + .milliseconds(100)
        for (key, mapping) in mappings where now.since(mapping.refreshed).seconds >= lifetime(mapping.kind) {
            remove(key)
        }
    }

    private mutating func remove(_ key: Key) {
        guard let mapping = mappings.removeValue(forKey: key) else { return }
        byOutside[Outside(kind: mapping.kind, place: mapping.outside)] = nil
    }

    // MARK: Ports

    private mutating func allocate(_ packet: Packet) -> Packet.Place? {
        let address =
            behaviour.isPaired
            ? outside[Int(packet.source.address.value) % outside.count]
            : outside[Int(random.next() % UInt64(outside.count))]
        func isFree(_ port: UInt16) -> Bool {
            byOutside[Outside(kind: packet.kind, place: Packet.Place(address, port))] == nil
        }
        let size = UInt64(behaviour.lastPort - behaviour.firstPort) + 1
        // TCP's ports are never what a scenario is about.
        switch packet.kind == .udp ? behaviour.allocation : .preserving {
        case .preserving where isFree(packet.source.port): return Packet.Place(address, packet.source.port)
        case .preserving, .random:
            let start = random.next() % size
            let offset = (0..<size).first { isFree(port(at: start + $0)) }
            return offset.map { Packet.Place(address, port(at: start + $0)) }
        case .sequential:
            for _ in 0..<size {
                lastPort = lastPort >= behaviour.lastPort ? behaviour.firstPort : max(lastPort + 1, behaviour.firstPort)
                if isFree(lastPort) { return Packet.Place(address, lastPort) }
            }
            return nil
        }
    }

    private func port(at offset: UInt64) -> UInt16 {
        let size = UInt64(behaviour.lastPort - behaviour.firstPort) + 1
        return behaviour.firstPort + UInt16(offset % size)
    }
}

/// SplitMix64: a seed gives the same numbers each time.
package struct SplitMix: RandomNumberGenerator, Sendable {
    private var state: UInt64

    package init(_ seed: UInt64) { state = seed }

    package mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}
