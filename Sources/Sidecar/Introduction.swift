import Addressing
import Timing
import Traversal

/// How an initiator tells a stranger who it is, so that the responder asks no server: its credential and its
/// announcement, one datagram each, as the payload of relay data beside the first handshake initiation.
///
/// ```
///  0       1         2                                3    4
/// +-------+---------+--------------------------------+----+--------------------------+
/// | 0xD0  | version | part: 1 credential, 2 announce | 0  | compact JWS text         |
/// +-------+---------+--------------------------------+----+--------------------------+
/// ```
enum Introduction: Equatable {
    case credential([UInt8])
    case announcement([UInt8])

    static let type: UInt8 = 0xD0
    static let version: UInt8 = 1
    static let headerSize = 4
    static let maximumSize = 1200

    func encode() -> [UInt8] {
        switch self {
        case .credential(let text): [Self.type, Self.version, 1, 0] + text
        case .announcement(let text): [Self.type, Self.version, 2, 0] + text
        }
    }

    /// Nil for another type, version or part, an empty text, or more than 1,200 bytes.
    init?(decoding bytes: [UInt8]) {
        guard bytes.count > Self.headerSize, bytes.count <= Self.maximumSize, bytes[0] == Self.type,
            bytes[1] == Self.version, bytes[3] == 0
        else { return nil }
        switch bytes[2] {
        case 1: self = .credential(Array(bytes[Self.headerSize...]))
        case 2: self = .announcement(Array(bytes[Self.headerSize...]))
        default: return nil
        }
    }
}

/// What strangers sent that can't be used yet: at most one introduction and one unverified initiation per source id, each
/// for one second, within a fixed total. A flood of strangers costs a fixed amount of memory and a fixed rate of
/// signature checks; it can delay other strangers, never known peers.
struct Strangers {
    struct Complete: Equatable {
        let credential: [UInt8]
        let announcement: [UInt8]
        /// The held handshake initiation; nil when it has not come yet.
        let initiation: [UInt8]?
    }

    static let limit = 64
    static let holdTime = Interval.seconds(1)
    /// Chains verified in a second, in all: three signatures each.
    static let verificationsPerSecond: UInt64 = 200

    private struct Stranger {
        var credential: [UInt8]?
        var announcement: [UInt8]?
        var initiation: [UInt8]?
        let since: MonotonicTime
    }

    private var strangers: [AgentID: Stranger] = [:]
    private var verifications: TokenBucket
    private(set) var refused: UInt64 = 0

    init(now: MonotonicTime) {
        verifications = TokenBucket(
            capacity: Self.verificationsPerSecond, perSecond: Self.verificationsPerSecond, now: now)
    }

    var count: Int { strangers.count }

    /// Whether `source` announced something that is not verified yet: its initiation belongs with that.
    func isHolding(_ source: AgentID) -> Bool { strangers[source]?.announcement != nil }

    /// Holds an initiation of an unknown source. The first one stays: a later one in the same second may be a replay.
    mutating func hold(initiation: [UInt8], from source: AgentID, now: MonotonicTime) -> Complete? {
        guard admit(source, now: now) else { return nil }
        if strangers[source]?.initiation == nil { strangers[source]?.initiation = initiation }
        return take(source, now: now)
    }

    /// Adds a part of an introduction; what is complete is taken out, for the caller to verify.
    mutating func add(_ part: Introduction, from source: AgentID, now: MonotonicTime) -> Complete? {
        guard admit(source, now: now) else { return nil }
        switch part {
        case .credential(let text): strangers[source]?.credential = text
        case .announcement(let text): strangers[source]?.announcement = text
        }
        return take(source, now: now)
    }

    mutating func expire(now: MonotonicTime) {
        strangers = strangers.filter { now.since($0.value.since) < Self.holdTime }
    }

    private mutating func admit(_ source: AgentID, now: MonotonicTime) -> Bool {
        expire(now: now)
        if strangers[source] != nil { return true }
        guard strangers.count < Self.limit else {
            refused += 1
            return false
        }
        strangers[source] = Stranger(since: now)
        return true
    }

    private mutating func take(_ source: AgentID, now: MonotonicTime) -> Complete? {
        guard let stranger = strangers[source], let credential = stranger.credential,
            let announcement = stranger.announcement, let initiation = stranger.initiation
        else { return nil }
        strangers[source] = nil
        guard verifications.take(now) else {
            refused += 1
            return nil
        }
        return Complete(credential: credential, announcement: announcement, initiation: initiation)
    }
}
