/// First in, first out, in amortized constant time, in a ring that grows and is kept. One thread.
///
/// Public, where all else is for the package: of what is not, other modules have only the generic code, which asks the
/// runtime for types at each call.
@frozen
public struct FIFO<Element> {
    @usableFromInline var ring: ContiguousArray<Element?> = []
    @usableFromInline var head = 0
    @usableFromInline var length = 0

    @inlinable
    public init() {}

    @inlinable
    public var count: Int { length }

    @inlinable
    public var isEmpty: Bool { count == 0 }

    @inlinable
    public var first: Element? { count == 0 ? nil : ring[head] }

    @inlinable
    public mutating func append(_ element: Element) {
        if count == ring.count { grow() }
        ring[(head + count) & (ring.count - 1)] = element
        length += 1
    }

    @inlinable
    public mutating func popFirst() -> Element? {
        guard count > 0 else { return nil }
        let element = ring[head]
        ring[head] = nil
        head = (head + 1) & (ring.count - 1)
        length -= 1
        return element
    }

    /// To twice the room, always a power of two.
    @usableFromInline
    mutating func grow() {
        var larger = ContiguousArray<Element?>(repeating: nil, count: Swift.max(8, ring.count * 2))
        for index in 0..<count { larger[index] = ring[(head + index) & (ring.count - 1)] }
        ring = larger
        head = 0
    }
}

extension FIFO: Sequence {
    /// From the first.
    @inlinable
    public func makeIterator() -> some IteratorProtocol<Element> {
        (0..<count).lazy.compactMap { ring[(head + $0) & (ring.count - 1)] }.makeIterator()
    }
}
