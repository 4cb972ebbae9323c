package import Addressing
import CLinux
import Glibc

/// An `Endpoint` as the kernel reads and writes it: `sockaddr_in` or `sockaddr_in6` (ip(7), ipv6(7)).
///
/// ```
///  0             2           4                    8                   16
///  | AF_INET u16 | port (BE) | address            | zero             |
///  0             2           4                    8                   24         28
///  | AF_INET6    | port (BE) | flow information   | address          | scope id |
/// ```
package enum SocketAddress {
    /// Bytes that hold either.
    package static let size = 28
    private static let sizeIPv4 = 16

    /// Writes `endpoint` into `size` bytes at `destination` and returns its length, 16 or 28.
    package static func store(_ endpoint: Endpoint, to destination: UnsafeMutableRawPointer) -> UInt32 {
        let port = endpoint.port.bigEndian
        unsafe destination.storeBytes(of: port, toByteOffset: 2, as: UInt16.self)
        switch endpoint.address {
        case .v4(let address):
            unsafe destination.storeBytes(of: UInt16(AF_INET), toByteOffset: 0, as: UInt16.self)
            unsafe destination.storeBytes(of: address.value.bigEndian, toByteOffset: 4, as: UInt32.self)
            unsafe destination.storeBytes(of: 0, toByteOffset: 8, as: UInt64.self)
            return UInt32(sizeIPv4)
        case .v6(let address):
            unsafe destination.storeBytes(of: UInt16(AF_INET6), toByteOffset: 0, as: UInt16.self)
            unsafe destination.storeBytes(of: 0, toByteOffset: 4, as: UInt32.self)
            unsafe destination.storeBytes(of: address.high.bigEndian, toByteOffset: 8, as: UInt64.self)
            unsafe destination.storeBytes(of: address.low.bigEndian, toByteOffset: 16, as: UInt64.self)
            unsafe destination.storeBytes(of: 0, toByteOffset: 24, as: UInt32.self)
            return UInt32(size)
        }
    }

    /// The endpoint in the first `length` bytes at `source`; nil for another family or a shorter length.
    package static func load(_ source: UnsafeRawPointer, length: Int) -> Endpoint? {
        guard length >= sizeIPv4 else { return nil }
        let family = unsafe source.loadUnaligned(as: UInt16.self)
        let port = UInt16(bigEndian: unsafe source.loadUnaligned(fromByteOffset: 2, as: UInt16.self))
        if family == UInt16(AF_INET) {
            let value = UInt32(bigEndian: unsafe source.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
            return Endpoint(.v4(IPv4Address(value: value)), port: port)
        }
        guard family == UInt16(AF_INET6), length >= size else { return nil }
        let high = UInt64(bigEndian: unsafe source.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        let low = UInt64(bigEndian: unsafe source.loadUnaligned(fromByteOffset: 16, as: UInt64.self))
        return Endpoint(.v6(IPv6Address(high: high, low: low)), port: port)
    }
}
