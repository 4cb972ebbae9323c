package import Linux

/// What the node's agent says to a process that asks for a pod's TUN descriptor: one message, and the connection ends.
///
///      0             1            2
///      | version 1   | status     | reason, UTF-8, at most 254 bytes |
///
/// The question is the connection itself: what the asker is, the kernel says (SO_PEERCRED). A descriptor comes along
/// with `granted` only (SCM_RIGHTS).
package struct HandoverAnswer: Hashable, Sendable {
    package enum Status: UInt8, Sendable {
        case granted = 0
        /// The same question will get the same answer.
        case refused = 1
        /// The interface is held, or questions come too fast.
        case notNow = 2
    }

    package static let version: UInt8 = 1
    package static let limit = 256

    package let status: Status
    package let reason: String

    package init(_ status: Status, _ reason: String = "") {
        self.status = status
        self.reason = reason
    }

    package var bytes: [UInt8] {
        [Self.version, status.rawValue] + Array(reason.utf8.prefix(Self.limit - 2))
    }

    /// Nil for what no agent of this version sends. The reason is shown to people: control characters are taken out.
    package init?(parsing bytes: [UInt8]) {
        guard bytes.count >= 2, bytes[0] == Self.version, let status = Status(rawValue: bytes[1]) else { return nil }
        self.status = status
        let text = String(decoding: bytes.dropFirst(2), as: UTF8.self)
        reason = String(String.UnicodeScalarView(text.unicodeScalars.filter { $0.value >= 0x20 && $0.value != 0x7f }))
    }

    /// The socket in a pod's network namespace at which the descriptor of `interface` is asked for.
    package static func socketName(for interface: String) -> PacketSocket.Name { .abstract("warren/tun/\(interface)") }
}
