import CMnl

/// A netlink request being built: header, family header, attributes (netlink(7)).
///
///     nlmsghdr:  u32 length | u16 type | u16 flags | u32 sequence | u32 port (all in host order)
///     then the family's header (ifinfomsg, ifaddrmsg, rtmsg), then attributes:
///     nlattr:    u16 length | u16 type | payload | padding to 4
///
/// A value; libmnl lays out the bytes. Putting more than `capacity` bytes throws `requestTooLong`.
package struct Message: Sendable {
    package static let capacity = 4096

    private var buffer = [UInt8](repeating: 0, count: Message.capacity)

    /// A request of `type` (RTM_…) whose family header is the C struct `header`. NLM_F_REQUEST is always set.
    package init<Header: BitwiseCopyable>(_ type: some BinaryInteger, flags: some BinaryInteger, header: Header) {
        unsafe buffer.withUnsafeMutableBytes { bytes in
            // Safe: the buffer is far larger than both headers.
            let message = unsafe mnl_nlmsg_put_header(bytes.baseAddress)!
            unsafe message.pointee.nlmsg_type = UInt16(truncatingIfNeeded: type)
            unsafe message.pointee.nlmsg_flags = UInt16(truncatingIfNeeded: flags) | UInt16(NLM_F_REQUEST)
            unsafe mnl_nlmsg_put_extra_header(message, MemoryLayout<Header>.size)
                .storeBytes(of: header, as: Header.self)
        }
    }

    /// Exactly the bytes that go to the kernel.
    package var bytes: [UInt8] { Array(buffer.prefix(length)) }

    /// The number that the kernel's answers repeat.
    package var sequence: UInt32 {
        get { unsafe buffer.withUnsafeBytes { unsafe $0.load(as: nlmsghdr.self).nlmsg_seq } }
        set { unsafe withHeader { unsafe $0.pointee.nlmsg_seq = newValue } }
    }

    package var isDump: Bool { flags & UInt16(NLM_F_DUMP) == UInt16(NLM_F_DUMP) }

    package mutating func put(_ type: some BinaryInteger, bytes: [UInt8]) throws(NetlinkError) {
        unsafe try add {
            unsafe mnl_attr_put_check($0, Message.capacity, UInt16(truncatingIfNeeded: type), bytes.count, bytes)
        }
    }

    package mutating func put(_ type: some BinaryInteger, _ value: UInt32) throws(NetlinkError) {
        unsafe try add { unsafe mnl_attr_put_u32_check($0, Message.capacity, UInt16(truncatingIfNeeded: type), value) }
    }

    package mutating func put(_ type: some BinaryInteger, byte: UInt8) throws(NetlinkError) {
        unsafe try add { unsafe mnl_attr_put_u8_check($0, Message.capacity, UInt16(truncatingIfNeeded: type), byte) }
    }

    /// Puts text with its terminating NUL, as IFLA_IFNAME wants it.
    package mutating func put(_ type: some BinaryInteger, text: String) throws(NetlinkError) {
        unsafe try add { unsafe mnl_attr_put_strz_check($0, Message.capacity, UInt16(truncatingIfNeeded: type), text) }
    }

    /// Puts an attribute whose payload is the attributes that `body` puts.
    package mutating func nest(
        _ type: some BinaryInteger, _ body: (inout Message) throws(NetlinkError) -> Void
    ) throws(NetlinkError) {
        let start = length
        unsafe try add {
            unsafe mnl_attr_nest_start_check($0, Message.capacity, UInt16(truncatingIfNeeded: type)) != nil
        }
        try body(&self)
        unsafe withHeader { header in
            // Safe: `start` is where nest_start put the attribute, inside the buffer.
            let attribute = unsafe UnsafeMutableRawPointer(header).advanced(by: start)
            unsafe mnl_attr_nest_end(header, attribute.assumingMemoryBound(to: nlattr.self))
        }
    }

    /// Puts a bare C struct inside a nest, as VETH_INFO_PEER begins with one.
    package mutating func put<Header: BitwiseCopyable>(header: Header) throws(NetlinkError) {
        let size = MemoryLayout<Header>.size
        guard length + size <= Message.capacity else { throw .requestTooLong }
        unsafe withHeader {
            unsafe mnl_nlmsg_put_extra_header($0, size).storeBytes(of: header, as: Header.self)
        }
    }

    private var length: Int { unsafe buffer.withUnsafeBytes { unsafe Int($0.load(as: nlmsghdr.self).nlmsg_len) } }
    private var flags: UInt16 { unsafe buffer.withUnsafeBytes { unsafe $0.load(as: nlmsghdr.self).nlmsg_flags } }

    private mutating func add(_ put: (UnsafeMutablePointer<nlmsghdr>) -> Bool) throws(NetlinkError) {
        guard unsafe withHeader({ unsafe put($0) }) else { throw .requestTooLong }
    }

    private mutating func withHeader<Value>(_ body: (UnsafeMutablePointer<nlmsghdr>) -> Value) -> Value {
        unsafe buffer.withUnsafeMutableBytes {
            // Safe: the buffer is never empty, is aligned to 16 and begins with the header since init.
            unsafe body($0.baseAddress!.assumingMemoryBound(to: nlmsghdr.self))
        }
    }
}
