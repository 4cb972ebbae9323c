/// First in, first out, up to a number of elements that is known at the start; allocates once. One thread.
struct FixedQueue<Element> {
    private var elements: [Element?]
    private var first = 0
    private(set) var count = 0

    init(capacity: Int) { elements = Array(repeating: nil, count: capacity) }

    var isEmpty: Bool { count == 0 }

    /// There must be room.
    mutating func append(_ element: Element) {
        precondition(count < elements.count, "a queue of \(elements.count) is full")
        var place = first &+ count
        if place >= elements.count { place &-= elements.count }
        elements[place] = element
        count &+= 1
    }

    mutating func popFirst() -> Element? {
        guard count > 0 else { return nil }
        defer {
            elements[first] = nil
            first &+= 1
            if first == elements.count { first = 0 }
            count &-= 1
        }
        return elements[first]
    }
}

extension FixedQueue: Sequence {
    /// From the first.
    func makeIterator() -> some IteratorProtocol<Element> {
        (0..<count).lazy.compactMap { elements[(first + $0) % elements.count] }.makeIterator()
    }
}
