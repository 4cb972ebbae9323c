import CMnl

/// One message that the kernel sent: its type and what follows the header.
package struct Reply: Sendable {
    package let type: UInt16
    package let payload: [UInt8]
    let flags: UInt16
    package let sequence: UInt32
    let port: UInt32

    /// What ends an answer: an acknowledgement or error (NLMSG_ERROR) or the end of a dump (NLMSG_DONE).
    package struct End: Hashable, Sendable {
        /// A positive error number; 0 for success.
        package let code: Int32
        /// The extended-ack text.
        package let text: String?
    }

    var isDisturbed: Bool { flags & UInt16(NLM_F_DUMP_INTR) != 0 }

    /// Splits a datagram into messages; nil when one of them does not fit it.
    package static func split(_ datagram: [UInt8]) -> [Reply]? {
        unsafe datagram.withUnsafeBytes { bytes in
            var replies: [Reply] = []
            var position = 0
            while position < bytes.count {
                guard bytes.count - position >= MemoryLayout<nlmsghdr>.size else { return nil }
                // Safe: a whole header is left, positions are multiples of 4, and the length is checked. mnl_nlmsg_ok
                // alone does not do: it takes a length above 2^31 for a negative one.
                let message = unsafe bytes.baseAddress!.advanced(by: position).assumingMemoryBound(to: nlmsghdr.self)
                let header = unsafe message.pointee
                let left = bytes.count - position
                guard unsafe mnl_nlmsg_ok(message, Int32(clamping: left)), Int(header.nlmsg_len) <= left else {
                    return nil
                }
                let payload = unsafe UnsafeRawBufferPointer(
                    start: mnl_nlmsg_get_payload(message), count: mnl_nlmsg_get_payload_len(message))
                replies.append(
                    Reply(
                        type: header.nlmsg_type, payload: unsafe Array(payload), flags: header.nlmsg_flags,
                        sequence: header.nlmsg_seq, port: header.nlmsg_pid))
                position += (Int(header.nlmsg_len) + 3) & ~3
            }
            return replies
        }
    }

    /// The end that this message is; nil for one that carries data.
    ///
    ///     NLMSG_ERROR:  i32 negative errno | the request's nlmsghdr | the request's rest unless NLM_F_CAPPED | attributes
    ///     NLMSG_DONE:   i32 negative errno | attributes
    package var end: End? {
        guard type == UInt16(NLMSG_ERROR) || type == UInt16(NLMSG_DONE) else { return nil }
        guard payload.count >= 4 else { return End(code: type == UInt16(NLMSG_DONE) ? 0 : 74, text: nil) }  // EBADMSG
        let code = unsafe payload.withUnsafeBytes { unsafe $0.loadUnaligned(as: Int32.self) }
        var offset = 4
        if type == UInt16(NLMSG_ERROR) {
            guard payload.count >= 20 else { return End(code: code.magnitude32, text: nil) }
            let request = unsafe payload.withUnsafeBytes {
                unsafe $0.loadUnaligned(fromByteOffset: 4, as: nlmsghdr.self)
            }
            let isCapped = flags & UInt16(NLM_F_CAPPED) != 0
            offset = isCapped ? 20 : 4 + ((Int(request.nlmsg_len) + 3) & ~3)
        }
        let hasAttributes = flags & UInt16(NLM_F_ACK_TLVS) != 0
        let text = hasAttributes ? Attributes(payload, from: offset).text(1) : nil  // NLMSGERR_ATTR_MSG
        return End(code: code.magnitude32, text: text)
    }
}

extension Int32 {
    fileprivate var magnitude32: Int32 { Int32(clamping: magnitude) }
}
