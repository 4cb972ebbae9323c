import Addressing
import Membership
import Timing

/// What agents sent about themselves that is not verified yet: at most one introduction and one initiation per source id,
/// for one second, within a fixed total.
///
/// Source ids are a relay's word and can be forged by who can send in its name, so a flood must cost little and block
/// nobody: the oldest gives way to the newest (the parts of an honest introduction come back to back), and each source has
/// three verifications a second within a fixed rate of all.
struct Strangers {
    struct Complete: Equatable {
        let record: Record
        /// The held handshake initiation; nil for a known peer's news.
        let initiation: [UInt8]?
    }

    static let limit = 256
    static let holdTime = Interval.seconds(1)
    /// Chains verified in a second, in all: two signatures each.
    static let verificationLimit = TokenBucket.Limit(perSecond: 200, burst: 200)
    /// And of one source while it is held.
    static let verificationsPerSource = 3
    /// A WireGuard handshake initiation.
    static let initiationSize = 148

    private struct Stranger {
        var credential: [UInt8]?
        var announcement: [UInt8]?
        var initiation: [UInt8]?
        let since: MonotonicTime
        var verifications = 0
    }

    private var strangers: [AgentID: Stranger] = [:]
    /// The sources in the order in which they came.
    private var order: [AgentID] = []
    private var verifications: TokenBucket
    private(set) var refused: UInt64 = 0

    init(now: MonotonicTime) {
        verifications = TokenBucket(full: Self.verificationLimit, now: now)
    }

    var count: Int { strangers.count }

    /// Holds an initiation of an unknown source. The first one stays: a later one in the same second may be a replay.
    mutating func hold(initiation: [UInt8], from source: AgentID, now: MonotonicTime) -> Complete? {
        change(source, now: now) { stranger in
            if stranger.initiation == nil { stranger.initiation = initiation }
            guard let credential = stranger.credential, let announcement = stranger.announcement else { return nil }
            return Self.complete(credential, announcement, stranger.initiation)
        }
    }

    /// Adds a part of an introduction; what is complete is taken out, for the caller to verify.
    ///
    /// - Parameter known: the record of a source that is a peer already: its news needs no initiation, and a part that did
    ///   not come is as it was.
    mutating func add(
        _ part: Introduction, from source: AgentID, known: Record? = nil, now: MonotonicTime
    ) -> Complete? {
        change(source, now: now) { stranger in
            switch part {
            case .credential(let text): stranger.credential = text
            case .announcement(let text): stranger.announcement = text
            }
            guard known != nil || stranger.initiation != nil,
                let credential = stranger.credential ?? known.map({ Array($0.credential.utf8) }),
                let announcement = stranger.announcement ?? known.map({ Array($0.announcement.utf8) })
            else { return nil }
            return Self.complete(credential, announcement, known == nil ? stranger.initiation : nil)
        }
    }

    private static func complete(_ credential: [UInt8], _ announcement: [UInt8], _ initiation: [UInt8]?) -> Complete {
        Complete(
            record: Record(
                credential: String(decoding: credential, as: UTF8.self),
                announcement: String(decoding: announcement, as: UTF8.self)), initiation: initiation)
    }

    /// Lets `body` change what is held of `source`, and passes on what it completes as far as the limits allow.
    private mutating func change(
        _ source: AgentID, now: MonotonicTime, _ body: (inout Stranger) -> Complete?
    ) -> Complete? {
        makeRoom(for: source, now: now)
        if strangers[source] == nil { order.append(source) }
        var stranger = strangers[source] ?? Stranger(since: now)
        defer { strangers[source] = stranger }
        guard stranger.verifications < Self.verificationsPerSource else {
            refused += 1
            return nil
        }
        guard let complete = body(&stranger) else { return nil }
        // What is complete is used up; how often stays known.
        stranger.verifications += 1
        if complete.initiation != nil {
            (stranger.credential, stranger.announcement, stranger.initiation) = (nil, nil, nil)
        }
        guard verifications.take(1, limit: Self.verificationLimit, now: now) else {
            refused += 1
            return nil
        }
        return complete
    }

    private mutating func makeRoom(for source: AgentID, now: MonotonicTime) {
        while let oldest = order.first, let stranger = strangers[oldest] {
            let isFull = strangers.count >= Self.limit && strangers[source] == nil
            guard isFull || now.since(stranger.since) >= Self.holdTime else { return }
            if now.since(stranger.since) < Self.holdTime { refused += 1 }
            order.removeFirst()
            strangers[oldest] = nil
        }
    }
}
