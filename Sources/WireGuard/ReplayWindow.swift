/// A sliding window that accepts each transport counter once (RFC 6479).
///
/// A counter that is 8,192 or more behind the greatest accepted one is refused. The initial value accepts any counter.
/// Not safe for concurrent use: each keypair owns one.
package struct ReplayWindow {
    package static let size = 8192
    private static let wordBits = 64
    /// One word more than the window has, so that whole words are cleared as it moves.
    private static let wordCount = size / wordBits + 1

    private var words: [129 of UInt64] = .init(repeating: 0)
    private var greatest: UInt64 = 0

    package init() {}

    /// Whether `counter` is new; notes it if so. Called only for authenticated messages.
    package mutating func accept(_ counter: UInt64) -> Bool {
        let word = counter / UInt64(Self.wordBits)
        if counter > greatest {
            let moved = min(word - greatest / UInt64(Self.wordBits), UInt64(Self.wordCount))
            for step in 0..<moved { words[Self.slot(word - step)] = 0 }
            greatest = counter
        } else if greatest - counter >= UInt64(Self.size) {
            return false
        }
        let bit: UInt64 = 1 << (counter % UInt64(Self.wordBits))
        let slot = Self.slot(word)
        guard words[slot] & bit == 0 else { return false }
        words[slot] |= bit
        return true
    }

    private static func slot(_ word: UInt64) -> Int { Int(truncatingIfNeeded: word % UInt64(wordCount)) }
}
