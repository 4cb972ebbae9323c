/// The device's peers, each at a fixed slot until it is removed: slots are small numbers that are used again.
///
/// Lends pointers, so that a peer can be worked on while the device changes around it. A pointer is good until the next
/// `insert` or `remove`.
@safe struct PeerTable: ~Copyable {
    // Safe: exactly the slots whose generation is odd are initialized, and pointers to others are not given out.
    private var storage: UnsafeMutablePointer<Peer>
    private var capacity: Int
    /// Counts each insertion and removal of a slot: odd while it holds a peer.
    private var generations: [UInt32] = []
    private var free: [Int32] = []

    init() {
        capacity = 4
        unsafe storage = .allocate(capacity: capacity)
    }

    deinit {
        for slot in slots { unsafe (storage + Int(slot)).deinitialize(count: 1) }
        unsafe storage.deallocate()
    }

    var count: Int { generations.count - free.count }

    /// The slots that hold a peer, in order.
    var slots: [Int32] { generations.indices.filter { generations[$0] % 2 == 1 }.map(Int32.init) }

    /// The peer at a slot that holds one.
    func pointer(_ slot: Int32) -> UnsafeMutablePointer<Peer> {
        precondition(generations[Int(slot)] % 2 == 1)
        return unsafe storage + Int(slot)
    }

    /// Nil when the peer was removed.
    func pointer(_ id: PeerID) -> UnsafeMutablePointer<Peer>? {
        guard id.index >= 0, Int(id.index) < generations.count, generations[Int(id.index)] == id.generation,
            id.generation % 2 == 1
        else { return nil }
        return unsafe storage + Int(id.index)
    }

    /// The id that the next `insert` must have.
    func nextID() -> PeerID {
        if let slot = free.last { return PeerID(index: slot, generation: generations[Int(slot)] &+ 1) }
        return PeerID(index: Int32(generations.count), generation: 1)
    }

    mutating func insert(_ peer: consuming Peer) {
        let id = peer.id
        precondition(id == nextID())
        let slot = Int(id.index)
        if free.popLast() == nil { generations.append(0) }
        if slot == capacity {
            let larger = UnsafeMutablePointer<Peer>.allocate(capacity: capacity * 2)
            unsafe larger.moveInitialize(from: storage, count: capacity)
            unsafe storage.deallocate()
            unsafe storage = larger
            capacity *= 2
        }
        unsafe (storage + slot).initialize(to: peer)
        generations[slot] = id.generation
    }

    /// Destroys the peer at a slot that holds one, and its secrets with it.
    mutating func remove(_ slot: Int32) {
        unsafe pointer(slot).deinitialize(count: 1)
        generations[Int(slot)] &+= 1
        free.append(slot)
    }
}
