import CLinux

/// The 10 bytes before each packet of a TUN with IFF_VNET_HDR (virtio 1.2, 5.1.6 without `num_buffers`).
///
/// ```
///  0       1          2         4          6            8             10
///  | flags | gso_type | hdr_len | gso_size | csum_start | csum_offset |
/// ```
/// Numbers are in host order, little-endian on the machines we run on. Offsets count from the first byte of the IP
/// header. The zero value says: one packet with a complete checksum.
package struct VirtioNetHeader: Equatable, Sendable {
    /// Bit 0, `needsChecksum`: the checksum field holds only the folded pseudo-header sum.
    package var flags: UInt8
    package var segmentation: UInt8
    /// A hint only: the kernel reports more than the headers for forwarded packets. Never trusted.
    package var headerLength: UInt16
    /// Payload bytes of each segment but the last.
    package var segmentSize: UInt16
    package var checksumStart: UInt16
    package var checksumOffset: UInt16

    package static let size = 10
    package static let needsChecksum: UInt8 = 1
    package static let segmentationNone: UInt8 = 0
    package static let segmentationTCPv4: UInt8 = 1
    package static let segmentationTCPv6: UInt8 = 4
    package static let segmentationUDP = UInt8(CLinux_VIRTIO_NET_HDR_GSO_UDP_L4)
    /// Or-ed to the TCP types: the first segment carries CWR.
    package static let congestionNotification: UInt8 = 0x80

    package init(
        flags: UInt8 = 0, segmentation: UInt8 = 0, headerLength: UInt16 = 0, segmentSize: UInt16 = 0,
        checksumStart: UInt16 = 0, checksumOffset: UInt16 = 0
    ) {
        self.flags = flags
        self.segmentation = segmentation
        self.headerLength = headerLength
        self.segmentSize = segmentSize
        self.checksumStart = checksumStart
        self.checksumOffset = checksumOffset
    }

    /// The header at the start of `frame`; nil when there are fewer than 10 bytes.
    package init?(_ frame: UnsafeRawBufferPointer) {
        guard frame.count >= Self.size else { return nil }
        flags = unsafe frame.load(fromByteOffset: 0, as: UInt8.self)
        segmentation = unsafe frame.load(fromByteOffset: 1, as: UInt8.self)
        headerLength = unsafe UInt16(littleEndian: frame.loadUnaligned(fromByteOffset: 2, as: UInt16.self))
        segmentSize = unsafe UInt16(littleEndian: frame.loadUnaligned(fromByteOffset: 4, as: UInt16.self))
        checksumStart = unsafe UInt16(littleEndian: frame.loadUnaligned(fromByteOffset: 6, as: UInt16.self))
        checksumOffset = unsafe UInt16(littleEndian: frame.loadUnaligned(fromByteOffset: 8, as: UInt16.self))
    }

    /// Writes the 10 bytes at `destination`.
    package func store(to destination: UnsafeMutableRawPointer) {
        unsafe destination.storeBytes(of: flags, toByteOffset: 0, as: UInt8.self)
        unsafe destination.storeBytes(of: segmentation, toByteOffset: 1, as: UInt8.self)
        unsafe destination.storeBytes(of: headerLength.littleEndian, toByteOffset: 2, as: UInt16.self)
        unsafe destination.storeBytes(of: segmentSize.littleEndian, toByteOffset: 4, as: UInt16.self)
        unsafe destination.storeBytes(of: checksumStart.littleEndian, toByteOffset: 6, as: UInt16.self)
        unsafe destination.storeBytes(of: checksumOffset.littleEndian, toByteOffset: 8, as: UInt16.self)
    }
}
