/// What is wrong with a message's bytes.
package enum MessageError: Error, Equatable, Sendable {
    /// It ends before what it says is in it.
    case truncated
    /// A label of a type that is neither a label nor a pointer (RFC 1035 4.1.4).
    case labelType
    /// A name of more than 255 bytes.
    case nameLength
    /// A pointer that does not lead back to a name.
    case pointer
    /// More records than a message of ours can have.
    case tooManyRecords
    /// An OPT record that is not the only one, or not the root's (RFC 6891 6.1.1).
    case misplacedOPT
}
