extension RawSpan {
    /// The integer in network order at `offset`; nil where it would reach past the end.
    ///
    /// Parsers read with it, so that no length of theirs can make them read outside a datagram.
    package func bigEndian<Value: FixedWidthInteger & BitwiseCopyable>(_: Value.Type, at offset: Int) -> Value? {
        guard offset >= 0, byteCount - offset >= MemoryLayout<Value>.size else { return nil }
        return Value(bigEndian: unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: Value.self))
    }
}
