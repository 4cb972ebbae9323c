import Sodium

/// Why a handshake message was refused, or could not be made.
package enum NoiseError: Error, Equatable {
    /// Not the length that the message must have.
    case wrongLength
    /// A field does not decrypt: forged, damaged, or meant for other keys.
    case authentication
    /// A public key of small order, which would make a shared secret known to everybody (RFC 7748 6.1).
    case smallOrderPoint
    /// No memory for another secret.
    case secretMemoryExhausted

    init(_ error: SodiumError) {
        self =
            switch error {
            case .smallOrderPoint: .smallOrderPoint
            case .secretMemoryExhausted, .initialization: .secretMemoryExhausted
            case .authentication: .authentication
            case .wrongLength: .wrongLength
            }
    }
}

/// Runs `body`, turning what libsodium throws into ours.
func refusing<Result: ~Copyable>(_ body: () throws(SodiumError) -> Result) throws(NoiseError) -> Result {
    do { return try body() } catch { throw NoiseError(error) }
}
