/// How a NAT behaves, in the words of RFC 4787; what no rule of nftables can express is here.
///
/// Decoded from JSON: every key but the networks may be left out.
package struct BoxBehaviour: Codable, Sendable, Equatable {
    package enum Dependence: String, Codable, Sendable {
        case endpoint, address, addressAndPort
    }

    package enum Allocation: String, Codable, Sendable {
        /// The inside port while it is free, else a random one.
        case preserving
        case random
        /// The next port after the last one that was given.
        case sequential
    }

    /// What is inside, as `ADDRESS/LENGTH`.
    package var inside: String
    /// The outside addresses. Empty: nothing is translated, and the box only delays, loses and reorders.
    package var outside: [String]
    /// Which destinations share a mapping (section 4.1), and whose packets it lets in (section 5).
    package var mapping = Dependence.endpoint
    package var filtering = Dependence.addressAndPort
    package var allocation = Allocation.preserving
    /// Outside ports.
    package var firstPort: UInt16 = 1024
    package var lastPort: UInt16 = 65535
    /// Whether an inside host always gets the same outside address (section 4.1, REQ-2).
    package var isPaired = true
    /// Seconds without traffic after which a UDP mapping ends.
    package var lifetime = 120.0
    /// Whether what comes in keeps a mapping alive too (section 4.3, REQ-6 asks for outbound only).
    package var refreshesOnInbound = false
    /// Seconds after which a mapping moves to another port while it is in use; 0 for never.
    package var rebindsAfter = 0.0
    /// How many mappings there can be; one more is refused until another has ended.
    package var capacity = 65536
    package var hairpins = false
    /// Whether ICMP errors about a mapping are passed on.
    package var passesErrors = true
    /// Larger packets vanish without a word, both ways.
    package var blackHoleAbove = 65535

    package init(inside: String, outside: [String]) {
        self.inside = inside
        self.outside = outside
    }

    package init(from decoder: any Decoder) throws {
        let keys = try decoder.container(keyedBy: CodingKeys.self)
        inside = try keys.decode(String.self, forKey: .inside)
        outside = try keys.decode([String].self, forKey: .outside)
        try keys.read(&mapping, .mapping)
        try keys.read(&filtering, .filtering)
        try keys.read(&allocation, .allocation)
        try keys.read(&firstPort, .firstPort)
        try keys.read(&lastPort, .lastPort)
        try keys.read(&isPaired, .isPaired)
        try keys.read(&lifetime, .lifetime)
        try keys.read(&refreshesOnInbound, .refreshesOnInbound)
        try keys.read(&rebindsAfter, .rebindsAfter)
        try keys.read(&capacity, .capacity)
        try keys.read(&hairpins, .hairpins)
        try keys.read(&passesErrors, .passesErrors)
        try keys.read(&blackHoleAbove, .blackHoleAbove)
    }
}

/// What the way itself does to packets, in each direction. Times in milliseconds, probabilities from 0 to 1.
package struct Weather: Codable, Sendable, Equatable {
    package var delay = 0.0
    /// Added to the delay: any time up to this.
    package var jitter = 0.0
    package var loss = 0.0
    package var duplication = 0.0
    /// Packets that are held back by `reorderingDelay` more, so that later ones overtake them.
    package var reordering = 0.0
    package var reorderingDelay = 5.0

    package init(delay: Double = 0) { self.delay = delay }

    package init(from decoder: any Decoder) throws {
        let keys = try decoder.container(keyedBy: CodingKeys.self)
        try keys.read(&delay, .delay)
        try keys.read(&jitter, .jitter)
        try keys.read(&loss, .loss)
        try keys.read(&duplication, .duplication)
        try keys.read(&reordering, .reordering)
        try keys.read(&reorderingDelay, .reorderingDelay)
    }
}

extension KeyedDecodingContainer {
    /// Leaves `value` as it is where the key is missing.
    fileprivate func read<Value: Decodable>(_ value: inout Value, _ key: Key) throws {
        if let read = try decodeIfPresent(Value.self, forKey: key) { value = read }
    }
}
