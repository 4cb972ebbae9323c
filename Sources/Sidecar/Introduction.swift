import Membership

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

    /// Whether `record` says the same.
    func isPart(of record: Record) -> Bool {
        switch self {
        case .credential(let text): record.credential.utf8.elementsEqual(text)
        case .announcement(let text): record.announcement.utf8.elementsEqual(text)
        }
    }
}
