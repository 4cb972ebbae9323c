package import Timing

/// The engine's numbers: what it sends at most, and when.
package enum Limits {
    // MARK: Candidates and pings

    /// Candidates kept for a peer.
    package static let candidates = Call.maximumCandidates
    /// New endpoints that a peer may name: so many at once, and as many in ten seconds.
    package static let newCandidates: UInt64 = 8
    /// In tenths, because a bucket flows in whole units a second.
    static let naming = TokenBucket.Limit(perSecond: 8, burst: 10 * newCandidates)
    /// Pings to a peer in a second, in all, and how many may come at once.
    package static let pingsPerSecond: UInt64 = 16
    package static let pingBurst: UInt64 = 64
    static let pings = TokenBucket.Limit(perSecond: pingsPerSecond, burst: pingBurst)
    /// Calls of a peer that are looked at.
    static let calls = TokenBucket.Limit(perSecond: 2, burst: 12)
    static let outstandingPings = 64
    static let pingTimeout: Interval = .seconds(5)

    // MARK: Calls and rounds

    /// Between the beginnings of two searches.
    static let searchSpacing: Interval = .seconds(3)
    /// When a call is repeated until it is answered.
    static let unansweredSpacing: [Interval] = [
        .milliseconds(250), .milliseconds(500), .seconds(1), .seconds(2), .seconds(4), .seconds(8), .seconds(16),
        .seconds(32), .seconds(60),
    ]
    /// Between attempts that were answered and found nothing: 5, 15 and 60 s after the first.
    static let upgradeSpacing: [Interval] = [.seconds(5), .seconds(10), .seconds(45)]
    /// After those, give or take a half.
    static let callSpacingAtRest: Interval = .seconds(300)
    /// From the agreed start to each round of pings.
    static let rounds: [Interval] = [
        .zero, .milliseconds(30), .milliseconds(60), .milliseconds(100), .milliseconds(200), .milliseconds(400),
        .milliseconds(800),
    ]
    /// The routers to our outermost NAT, at most: whoever says more is not believed.
    static let deepestNAT = 4
    /// One way between two agents by relay, until it is known.
    static let relayTripUnknown: Interval = .milliseconds(60)
    static let longestAgreedWait: Interval = .milliseconds(300)
    /// An agent whose NAT has many mappings lets the peer's pings come first: what it sends would take another port.
    static let yieldToPeer: Interval = .milliseconds(150)

    // MARK: Opening and spraying

    /// Two agents with one mapping each that are not direct after this: something took the port.
    static let escapeAfter: Interval = .milliseconds(400)
    /// Fresh sockets that are tried one after the other in one attempt.
    static let escapes = 5
    /// Until the filters are known, plain opening gets this long before more is tried.
    static let plainFirst: Interval = .milliseconds(200)
    /// Sockets of one opening that send at once, and how often.
    static let openingBurst = 32
    static let openingSpacing: Interval = .milliseconds(5)
    /// Two ends that have settled on a path each have the same one soon after this.
    static let settlesAfter: Interval = .milliseconds(500)
    /// How long sockets wait for the spray.
    static let openingLifetime: Interval = .seconds(4)
    /// When the peer is told of an opening and should have answered, we send to it ourselves: where it has not yet sent, its NAT
    /// may take that for a stranger's and close the way for as long as the attempt lasts.
    static let followAfter: Interval = .milliseconds(100)
    /// From one announcement to the next, of which the last is not followed by any.
    static let announcementSpacing: [Interval] = [.milliseconds(300), .milliseconds(600), .zero]
    /// How long a next port that the peer told is good for.
    static let nextPortLifetime: Interval = .milliseconds(1500)
    /// Probes of one spray.
    package static let sprayProbes = 1088
    /// In a tick of a spray: 1,000 a second.
    static let sprayBurst = 10
    static let spraySpacing: Interval = .milliseconds(10)
    /// A spray of more ports than this is a large one: one for a pair in ten minutes, and few to an address.
    static let largeSpray = 128
    package static let largeSpraysPerAddress = 4
    package static let largeSpraySpacing: Interval = .seconds(600)
    /// All probes of sprays, for a pair and for all peers together.
    static let pairSpray = TokenBucket.Limit(perSecond: 2, burst: UInt64(sprayProbes))
    static let nodeSpray = TokenBucket.Limit(perSecond: 20, burst: 4 * UInt64(sprayProbes))

    // MARK: Liveness

    /// Data that is not answered by anything for this long makes us ask. The host tells of packets a few times a second.
    static let suspectAfter: Interval = .milliseconds(400)
    static let suspectSpacing: Interval = .milliseconds(100)
    /// And after this long another path takes over.
    static let degradeAfter: Interval = .milliseconds(600)
    /// How long a path that was given up for now is asked before it is forgotten.
    static let forgetAfter: Interval = .seconds(3)
    static let degradedSpacing: Interval = .milliseconds(250)
    /// How recent data must be to count as "while we send".
    static let sendingWithin: Interval = .milliseconds(300)
    /// No calls for a peer that was not used for this long.
    static let activeWithin: Interval = .seconds(600)
    /// After this long without data a direct path is kept open no longer.
    package static let keepsIdlePathFor: Interval = .seconds(7200)

    // MARK: Choice

    /// A path of the same tier must be better by both for three samples before it replaces one that works.
    static let betterBy: Interval = .milliseconds(10)
    static let betterByFifths: UInt64 = 1
    static let betterSamples = 3
    static let stickyFor: Interval = .seconds(30)
    /// While a direct path is new, a ping a second compares it with those that could be better.
    static let comparisons = 4
}
