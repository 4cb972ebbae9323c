import Glibc
import Linux
import Membership
import Sodium

/// A file with a service account's token, as the kubelet projects it. It is put anew in its place long before the token ends,
/// so that it is read for each conversation, and nothing is kept meanwhile.
package struct AccountTokenFile: Sendable {
    package let path: String

    package init(path: String) { self.path = path }

    /// What `body` makes of the token, which is wiped after it.
    package func withToken<Value>(
        _ body: ([UInt8]) async throws(DirectoryError) -> Value
    ) async throws(DirectoryError) -> Value {
        var bytes: [UInt8]
        do {
            // Not blocking: opening a FIFO would wait for its writer.
            bytes = try FileDescriptor(open: path, O_RDONLY | O_NONBLOCK)
                .readToEnd(limit: ServiceAccountToken.sizeLimit + 2)
        } catch {
            throw .unreadableToken("\(error); is a projected volume with the hub's audience mounted there?")
        }
        while let last = bytes.last, last == 0x0a || last == 0x0d || last == 0x20 { bytes.removeLast() }
        defer { unsafe bytes.withUnsafeMutableBytes { unsafe wipe($0) } }
        guard ServiceAccountToken.isText(bytes) else { throw .unreadableToken("\(path): no token is in it") }
        return try await body(bytes)
    }
}
