package import Addressing
package import Timing

/// A protocol by which a gateway forwards a port on request.
package enum MappingProtocol: String, Hashable, Sendable, CaseIterable {
    /// RFC 6887.
    case pcp = "PCP"
    /// RFC 6886.
    case natPMP = "NAT-PMP"
    /// UPnP Internet Gateway Device, version 1 or 2.
    case upnp = "UPnP IGD"
}

/// A UDP port of the gateway that it forwards to us until the lease ends.
package struct MappedPort: Hashable, Sendable {
    package var source: MappingProtocol
    /// Where others reach us, by the gateway's word.
    package var external: Endpoint
    package var internalPort: UInt16
    package var expires: MonotonicTime

    package init(source: MappingProtocol, external: Endpoint, internalPort: UInt16, expires: MonotonicTime) {
        self.source = source
        self.external = external
        self.internalPort = internalPort
        self.expires = expires
    }
}

/// What was found of one protocol at the gateway.
package enum MappingFinding: Hashable, Sendable {
    case searching
    /// Nothing answered.
    case absent
    /// It answers; the gateway's address outside, if it said it.
    case found(external: IPAddress?)
    /// It answers, and does not serve us: the reason in words.
    case refused(String)
}

/// What a port mapping's client wants done.
package enum MappingAction: Equatable, Sendable {
    /// From the client's UDP socket.
    case send([UInt8], to: Endpoint)
    /// Open a TCP connection, send the request, and hand what comes back to `exchanged` with this number: up to
    /// `HTTPResponse.sizeLimit` bytes, within `HTTPResponse.timeout`.
    case exchange(Int, to: Endpoint, request: [UInt8])
    case gained(MappedPort)
    case lost(MappedPort)
}

/// When to repeat a request that has had no answer: four times, each pause twice the last (RFC 6886 section 3.1).
///
/// RFC 6887 section 8.1.1 would wait 3 s first; but the gateway is on the link, and a race is on.
struct RequestTimer: Sendable {
    static let firstPause = Interval.milliseconds(250)
    static let maximumRequests = 4

    private(set) var next = MonotonicTime.never
    private(set) var requests = 0

    /// The first request is due at once.
    mutating func start(now: MonotonicTime) { (next, requests) = (now, 0) }

    mutating func stop() { next = .never }

    /// What is to be done now: nothing yet, another request, or giving up.
    mutating func fire(now: MonotonicTime) -> Firing {
        guard next <= now else { return .nothing }
        guard requests < Self.maximumRequests else {
            next = .never
            return .giveUp
        }
        next = now + Self.firstPause * (1 << UInt64(requests))
        requests += 1
        return .request
    }

    enum Firing { case nothing, request, giveUp }
}

/// The life of a mapping that was granted, and when to renew it: at half of what is left, again and again
/// (RFC 6887 section 11.2.1).
struct Lease: Sendable {
    /// More is not believed: the gateway may be another one tomorrow.
    static let longest = Interval.seconds(86_400)
    static let shortestPause = Interval.seconds(4)

    let expires: MonotonicTime
    private(set) var renewal: MonotonicTime

    init(seconds: UInt32, now: MonotonicTime) {
        expires = now + min(.seconds(UInt64(seconds)), Self.longest)
        renewal = .never
        schedule(now: now)
    }

    /// The next renewal is at half of what is left.
    mutating func schedule(now: MonotonicTime) { renewal = now + max(expires.since(now) / 2, Self.shortestPause) }

    mutating func renew(at time: MonotonicTime) { renewal = min(renewal, time) }
}
