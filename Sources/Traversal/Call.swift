package import Addressing

/// What one agent tells another before both punch: where it may be reached, and how its NAT behaves.
///
/// ```
/// flags (1) · relay round trip in ms (2) · NAT behaviour (8) · binding lifetime in s (2) · extra sockets (2)
/// next port (2) · opened range (23, with the flag) · count (0…8) · count candidates of 20 bytes
/// ```
package struct Call: Equatable, Sendable {
    package struct Flags: OptionSet, Sendable {
        package let rawValue: UInt8
        package init(rawValue: UInt8) { self.rawValue = rawValue }

        /// The other side is to call back.
        package static let wantsAnswer = Flags(rawValue: 1)
        /// The sender has a direct path that works.
        package static let isDirect = Flags(rawValue: 2)
        /// The one before was not answered.
        package static let isRepeated = Flags(rawValue: 8)
        /// An opened range is there.
        static let hasOpened = Flags(rawValue: 128)
    }

    /// Ports of the sender's NAT behind which sockets of it wait: of `count` ports, from the first one and `step` apart,
    /// at least one lets packets of the receiver in.
    package struct Opened: Equatable, Sendable {
        package var first: Endpoint
        package var step: UInt16
        package var count: UInt16

        package init(first: Endpoint, step: UInt16 = 1, count: UInt16 = 1) {
            self.first = first
            self.step = step
            self.count = count
        }
    }

    package var flags: Flags = []
    /// Between the sender and its relay; 0 when it is not known.
    package var relayMilliseconds: UInt16 = 0
    package var behavior = NATBehavior()
    /// How long the sender's NAT keeps a binding without traffic, as far as it was measured; 0 when it was not.
    package var bindingSeconds: UInt16 = 0
    /// How many sockets the sender can open beside its home sockets.
    package var extraSockets: UInt16 = 0
    /// The port that the sender's sequential NAT gives next; 0 when it was not just measured.
    package var nextPort: UInt16 = 0
    package var opened: Opened?
    package var candidates: [Candidate] = []

    package init() {}

    /// A call with nothing but candidates.
    package init(_ flags: Flags = [], candidates: [Candidate] = []) {
        self.flags = flags
        self.candidates = candidates
    }

    package static let maximumCandidates = 8
    static let fixedSize = 18

    func encode(into bytes: inout [UInt8]) {
        bytes.append(flags.subtracting(.hasOpened).union(opened == nil ? [] : .hasOpened).rawValue)
        bytes.append(bigEndian: relayMilliseconds)
        behavior.encode(into: &bytes)
        bytes.append(bigEndian: bindingSeconds)
        bytes.append(bigEndian: extraSockets)
        bytes.append(bigEndian: nextPort)
        if let opened {
            opened.first.encode(into: &bytes)
            bytes.append(bigEndian: opened.step)
            bytes.append(bigEndian: opened.count)
        }
        bytes.append(UInt8(min(candidates.count, Self.maximumCandidates)))
        for candidate in candidates.prefix(Self.maximumCandidates) { candidate.encode(into: &bytes) }
    }

    /// Nil for what `encode` does not write. Candidates of an unknown kind or family are left out.
    init?(decoding bytes: ArraySlice<UInt8>) {
        guard bytes.count >= Self.fixedSize, let behavior = NATBehavior(decoding: bytes.dropFirst(3)) else {
            return nil
        }
        let flags = Flags(rawValue: bytes[bytes.startIndex])
        self.flags = flags.subtracting(.hasOpened)
        relayMilliseconds = bytes.bigEndian16(at: 1)
        self.behavior = behavior
        bindingSeconds = bytes.bigEndian16(at: 11)
        extraSockets = bytes.bigEndian16(at: 13)
        nextPort = bytes.bigEndian16(at: 15)
        var rest = bytes.dropFirst(17)
        if flags.contains(.hasOpened) {
            guard rest.count >= Endpoint.wireSize + 4, let first = Endpoint(decoding: rest) else { return nil }
            opened = Opened(
                first: first, step: rest.bigEndian16(at: Endpoint.wireSize),
                count: rest.bigEndian16(at: Endpoint.wireSize + 2))
            rest = rest.dropFirst(Endpoint.wireSize + 4)
        }
        guard let count = rest.first.map(Int.init), count <= Self.maximumCandidates,
            rest.count >= 1 + count * Candidate.wireSize
        else { return nil }
        candidates = (0..<count).compactMap { Candidate(decoding: rest.dropFirst(1 + $0 * Candidate.wireSize)) }
    }
}
