import Testing
import Tun

@Suite struct VirtioNetHeaderTests {
    /// A TSO super-packet as the kernel hands it over: IPv4, 20 + 32 bytes of headers, 1368 bytes a segment.
    private let bytes: [UInt8] = [
        0x01,  // flags: NEEDS_CSUM
        0x01,  // gso_type: TCPV4
        0x34, 0x00,  // hdr_len 52
        0x58, 0x05,  // gso_size 1368
        0x14, 0x00,  // csum_start 20
        0x10, 0x00,  // csum_offset 16
    ]
    private let header = VirtioNetHeader(
        flags: VirtioNetHeader.needsChecksum, segmentation: VirtioNetHeader.segmentationTCPv4, headerLength: 52,
        segmentSize: 1368, checksumStart: 20, checksumOffset: 16)

    @Test func `the kernel's bytes parse`() {
        #expect(unsafe bytes.withUnsafeBytes { unsafe VirtioNetHeader($0) } == header)
    }

    @Test func `it is written as the kernel reads it`() {
        var written = [UInt8](repeating: 0xee, count: VirtioNetHeader.size)
        unsafe written.withUnsafeMutableBytes { written in
            if let base = written.baseAddress { unsafe header.store(to: base) }
        }
        #expect(written == bytes)
    }

    @Test func `nine bytes are none`() {
        #expect(unsafe bytes.prefix(9).withUnsafeBytes { unsafe VirtioNetHeader($0) } == nil)
    }

    @Test func `the zero value says one complete packet`() {
        #expect(VirtioNetHeader().flags == 0)
        #expect(VirtioNetHeader().segmentation == VirtioNetHeader.segmentationNone)
    }
}
