/// What can go wrong while two agents talk.
package enum Failure: String, CaseIterable, Codable, Sendable {
    /// The Internet drops everything between the two sites; the relay is left.
    case directKilled = "direct-killed"
    /// The relay that the pair talks by is killed; another one serves the mesh.
    case relayKilled = "relay-killed"
    /// The same for a pair without UDP, which talks by streams.
    case streamRelayKilled = "stream-relay-killed"
    /// The relay is killed while the pair talks direct.
    case relayKilledWhileDirect = "relay-killed-while-direct"
    /// A site's router forgets every binding, and gives other ports from then on.
    case routerRebooted = "router-rebooted"
    /// An agent's pod moves to another network, behind another router, with another address.
    case roamed

    package var title: String {
        switch self {
        case .directKilled: "direct path killed"
        case .relayKilled: "relay in use killed"
        case .streamRelayKilled: "relay in use killed, no UDP"
        case .relayKilledWhileDirect: "relay killed, path direct"
        case .routerRebooted: "NAT rebooted, new ports"
        case .roamed: "roamed to another network"
        }
    }

    /// What the longest silence of a TCP stream may be, in milliseconds: one and a half times what is asked of simulations.
    package var bar: Double {
        switch self {
        case .directKilled: 1500
        case .relayKilled, .streamRelayKilled: 2250
        case .relayKilledWhileDirect: 200
        case .routerRebooted, .roamed: 3000
        }
    }
}

/// One failure while a TCP stream was open. Times are in milliseconds.
package struct FailureTrial: Codable, Sendable {
    package var failure: Failure
    /// The longest time without an answer, from the failure on.
    package var silence: Double
    /// Whether answers came again at all.
    package var recovered: Bool
    /// Why the stream ended, if it did.
    package var fault: String?
    /// The paths that the two ends said they had before and after.
    package var before: String
    package var after: String
}
