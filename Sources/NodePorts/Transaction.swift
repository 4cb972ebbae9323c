import CMnl
import CNftnl
import Glibc
import Linux
import Netlink

/// Requests to nf_tables that take effect together or not at all (nfnetlink's batches).
///
///     nlmsghdr NFNL_MSG_BATCH_BEGIN | requests, each nlmsghdr, nfgenmsg, attributes | nlmsghdr NFNL_MSG_BATCH_END
///
/// libnftnl lays out the requests. It does not look how much room there is: a request holds at most
/// `elementsPerRequest` elements or one rule, which is far less than `scratch` bytes.
struct Transaction: Sendable {
    static let elementsPerRequest = 400
    private static let scratch = 65536

    private(set) var bytes: [UInt8] = []
    /// What each request does, for errors, by its sequence number from 1.
    private(set) var operations: [String] = []

    init() { unsafe append { bytes, _ in unsafe nftnl_batch_begin(bytes, 0) } }

    /// Adds a request of `type` (NFT_MSG_…) for IPv4, whose attributes `body` puts.
    mutating func add(
        _ type: some RawRepresentable<UInt32>, flags: Int32 = 0, _ operation: String,
        _ body: (UnsafeMutablePointer<nlmsghdr>) -> Void
    ) {
        operations.append(operation)
        let sequence = UInt32(operations.count)
        unsafe append { bytes, _ in
            let header = unsafe nftnl_nlmsg_build_hdr(
                bytes, UInt16(truncatingIfNeeded: type.rawValue), UInt16(AF_INET), UInt16(truncatingIfNeeded: flags),
                sequence)!
            unsafe body(header)
            return unsafe header
        }
    }

    /// All of it, with its end. The last request asks for an acknowledgement.
    consuming func finished() -> [UInt8] {
        markLast()
        let sequence = UInt32(operations.count + 1)
        unsafe append { bytes, _ in unsafe nftnl_batch_end(bytes, sequence) }
        return bytes
    }

    private var lastStart = 0

    private mutating func append(
        _ build: (UnsafeMutablePointer<CChar>, Int) -> UnsafeMutablePointer<nlmsghdr>?
    ) {
        lastStart = bytes.count
        unsafe withUnsafeTemporaryAllocation(byteCount: Self.scratch, alignment: 16) { buffer in
            // Safe: the buffer is not empty, and larger than any request (see above).
            let start = unsafe buffer.baseAddress!.assumingMemoryBound(to: CChar.self)
            guard let header = unsafe build(start, buffer.count) else { return }
            let length = unsafe (Int(header.pointee.nlmsg_len) + 3) & ~3
            unsafe bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[..<length]))
        }
    }

    private mutating func markLast() {
        // nlmsghdr: u32 length | u16 type | u16 flags.
        let offset = lastStart + 6
        let flags = UInt16(bytes[offset]) | UInt16(bytes[offset + 1]) << 8 | UInt16(NLM_F_ACK)
        (bytes[offset], bytes[offset + 1]) = (UInt8(flags & 0xff), UInt8(flags >> 8))
    }
}
