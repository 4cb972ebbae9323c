import Addressing

/// The sockets that the engine has opened beside the home sockets, and for what.
struct SocketLedger {
    enum Use: Equatable {
        /// To learn how the NAT behaves.
        case discovery
        /// To be found by this peer, or to find it.
        case probing(AgentID)
        /// Part of a path to this peer; the index in the tunnel's table is nil until the host has given one.
        case adopted(AgentID, index: UInt8?)
    }

    /// Sockets that are adopted at once.
    static let adoptedLimit = 8

    /// How many the host offers.
    let limit: Int
    private var next: UInt32 = 2
    private(set) var uses: [SocketID: Use] = [:]
    private(set) var adoptedCount = 0

    init(limit: Int) { self.limit = limit }

    var available: Int { limit - uses.count }

    /// A new socket; nil when there are as many as the host offers.
    mutating func open(_ use: Use) -> SocketID? {
        guard available > 0 else { return nil }
        let socket = SocketID(number: next)
        // The numbers below 2 are the home sockets'.
        next = next == .max ? 2 : next + 1
        uses[socket] = use
        return socket
    }

    /// False when as many are adopted already as may be.
    mutating func adopt(_ socket: SocketID, for peer: AgentID) -> Bool {
        guard case .probing(peer) = uses[socket], adoptedCount < Self.adoptedLimit else { return false }
        uses[socket] = .adopted(peer, index: nil)
        adoptedCount += 1
        return true
    }

    mutating func setIndex(_ index: UInt8, of socket: SocketID) -> AgentID? {
        guard case .adopted(let peer, _) = uses[socket] else { return nil }
        uses[socket] = .adopted(peer, index: index)
        return peer
    }

    /// False when it was not open.
    mutating func close(_ socket: SocketID) -> Bool {
        guard let use = uses.removeValue(forKey: socket) else { return false }
        if case .adopted = use { adoptedCount -= 1 }
        return true
    }

    func isAdopted(_ socket: SocketID) -> Bool {
        if case .adopted = uses[socket] { true } else { false }
    }

    /// The index in the tunnel's table; nil for a socket that is not in it.
    func index(of socket: SocketID) -> UInt8? {
        if socket.isHome { return UInt8(socket.number) }
        if case .adopted(_, let index) = uses[socket] { return index }
        return nil
    }

    /// The socket at an index of the tunnel's table.
    func socket(at index: UInt8) -> SocketID? {
        if index < 2 { return SocketID(number: UInt32(index)) }
        return uses.first { _, use in
            if case .adopted(_, index) = use { true } else { false }
        }?.key
    }

    /// Whether a probe of `peer` may come in on `socket`.
    func mayUse(_ socket: SocketID, _ peer: AgentID) -> Bool {
        if socket.isHome { return true }
        return switch uses[socket] {
        case .probing(peer): true
        case .adopted(let owner, _): owner == peer
        default: false
        }
    }
}
