import Control
import Glibc
import NATBox

/// What a pair that says nothing costs: packets that passed the Internet, of every kind, in both directions.
package struct IdleRecord: Codable, Sendable {
    /// For how long it was counted.
    package var seconds: Double
    /// The paths while it was counted; "none/none" for agents that never spoke.
    package var paths: String
    /// By the words of `Underlay.Traffic`.
    package var counts: [String: Int]

    package func perHour(_ traffic: Underlay.Traffic) -> Double {
        Double(counts[traffic.rawValue] ?? 0) * 3600 / seconds
    }
}

extension PairLab {
    /// Delays everything between either site and the Internet, each way, in milliseconds; nil ends it.
    package func setDelay(_ milliseconds: Double?) throws {
        for network in networks {
            if let milliseconds {
                try network.setWeather(outward: Weather(delay: milliseconds), inward: Weather(delay: milliseconds))
            } else {
                try network.clearWeather()
            }
        }
    }

    /// Counts what a pair sends that has nothing to say any more: or one that never had.
    ///
    /// - Parameters:
    ///   - isConnected: whether the two have talked before.
    ///   - seconds: for how long, after 15 s of silence.
    package func idle(isConnected: Bool, seconds: Double) throws -> IdleRecord {
        let kind = try NATClass.named("port-restricted")
        try install(kind, kind)
        let start = Clock.now
        try restart()
        if let fault = waitLinked(since: start) { throw LabError.unexpected("before the idle time: \(fault)") }
        if isConnected {
            let (address, peerAddress) = (try mesh.virtualIPv6(of: pods[0]), try mesh.virtualIPv6(of: pods[1]))
            let exchange = try Exchange(from: pods[0], address, to: pods[1], peerAddress)
            exchange.run(until: Clock.now + settings.patience, every: 0.05) { self.paths() == "direct/direct" }
            exchange.run(until: Clock.now + 1, every: 0.05)
        }
        usleep(15_000_000)
        try mesh.underlay.resetTraffic()
        let began = Clock.now
        while Clock.now < began + seconds { usleep(100_000) }
        let counts = try Underlay.Traffic.allCases.map { ($0.rawValue, try mesh.underlay.count(of: $0)) }
        return IdleRecord(
            seconds: Clock.now - began, paths: paths(), counts: Dictionary(uniqueKeysWithValues: counts))
    }
}
