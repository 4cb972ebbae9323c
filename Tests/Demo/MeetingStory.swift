import Lab

/// What a capture between two agents that meet tells: by which way each kind of message went first.
struct MeetingStory {
    /// One line for each first time, in order.
    let lines: [String]
    /// The first handshake message went to the relay, before any tunnel message went direct.
    let beganAtRelay: Bool
    /// Seconds from that first message to the first transport data on the direct way.
    let directAfter: Double?

    /// - Parameter datagrams: in the order of the capture on the wan side of `here`'s router.
    init(_ datagrams: [WireDatagram], hub: String, here: String, there: String) {
        func isRelayed(_ datagram: WireDatagram) -> Bool { [datagram.source, datagram.destination].contains(hub) }
        func isDirect(_ datagram: WireDatagram) -> Bool { [datagram.source, datagram.destination].contains(there) }
        let tunnel: [WireDatagram.Kind] = [.initiation, .response, .data]
        let relayed = datagrams.filter(isRelayed)
        let direct = datagrams.filter(isDirect)
        let zero = relayed.first { tunnel.contains($0.kind) }?.time ?? datagrams.first?.time ?? 0

        var events: [(time: Double, text: String)] = []
        func note(_ datagram: WireDatagram?, _ text: String) {
            guard let datagram else { return }
            let arrow = datagram.source == here ? "→" : "←"
            events.append((datagram.time, "\(here) \(arrow) \(text)"))
        }
        for (kind, name) in [
            (WireDatagram.Kind.initiation, "handshake initiation"), (.response, "handshake response"),
            (.data, "first sealed data"),
        ] { note(relayed.first { $0.kind == kind }, "relay \(hub): \(name)") }
        let probe = direct.first { datagram in
            if case .own = datagram.kind { return true }
            return false
        }
        note(probe, "\(there): first probe")
        let firstDirect = direct.first { $0.kind == .data }
        note(firstDirect, "\(there): first sealed data, direct")
        lines = events.sorted { $0.time < $1.time }.map { event in
            let time = fixed((event.time - zero) * 1000, 1)
            return String(repeating: " ", count: max(0, 6 - time.count)) + "\(time) ms  \(event.text)"
        }
        let firstTunnelDirect = direct.first { tunnel.contains($0.kind) }?.time ?? .infinity
        beganAtRelay = relayed.contains { $0.kind == .initiation && $0.time < firstTunnelDirect }
        directAfter = firstDirect.map { $0.time - zero }
    }
}
