/// The descriptors a tunnel sends through, by the index that a direct `Path` names: 0 and 1 are the home sockets for IPv4
/// and IPv6. A plain value; who changes it keeps the `UDPSocket`s alive as long as a copy of it is used.
package struct SocketTable: Sendable {
    package static let capacity = 16
    private var descriptors = InlineArray<16, Int32>(repeating: -1)

    package init() {}

    /// A table of the home sockets.
    package init(ipv4: borrowing UDPSocket, ipv6: borrowing UDPSocket) {
        self[0] = ipv4.raw
        self[1] = ipv6.raw
    }

    /// The descriptor, or -1 for none. An index beyond the capacity has none and can't be set.
    package subscript(index: UInt8) -> Int32 {
        get { Int(index) < Self.capacity ? descriptors[Int(index)] : -1 }
        set { if Int(index) < Self.capacity { descriptors[Int(index)] = newValue } }
    }
}
