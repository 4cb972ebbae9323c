import Addressing
import Directory
import Glibc
import Linux
import Logging
import Membership
import Sodium
import Timing

// A crowd for a sidecar to know: `warren-crowd TOKEN FIRST LAST` joins the agents crowd-FIRST to crowd-LAST through the
// hub's own protocol, each with an identity of its own and the address PREFIX::N, publishes a record of each, and leaves
// their connections. Prints how many there are. TOKEN is a file; the prefix is in WARREN_CROWD_PREFIX.
struct Failure: Error { let text: String }

extension DirectoryError {
    fileprivate var isRefusal: Bool { if case .refused = self { true } else { false } }
}

@Sendable func join(_ number: UInt64, token: String, prefix: IPv6Address) async throws {
    let token = try JoinToken(token)
    var random = SecureRandom()
    let identity = Identity(try Ed25519.PrivateKey())
    let address = IPAddress.v6(IPv6Address(high: prefix.high, low: number))
    let client = try AuthorityClient(token: token)
    var admitted: AuthorityClient.Admission?
    // A hub that is in a hurry closes what is too much for it.
    for attempt in 0..<10 where admitted == nil {
        do throws(DirectoryError) {
            admitted = try await client.join(
                secret: token.secret, identity: identity, name: "crowd-\(number)", addresses: [address])
        } catch {
            guard attempt < 9, !error.isRefusal else { throw error }
        }
        if admitted == nil { try await Task.sleep(nanoseconds: 200_000_000) }
    }
    guard let admission = admitted else { throw Failure(text: "crowd-\(number): the hub did not answer") }
    let wall = WallTime.now()
    let expires = WallTime(seconds: wall.seconds + Credential.lifetime)
    let key = X25519.publicKey(of: try SecretKey(using: &random))
    let announcement = try Announcement(
        identity: identity, sequence: UInt64(wall.seconds), expires: expires,
        keys: [Announcement.StaticKey(key: key, notBefore: wall, expires: expires)],
        relays: admission.mesh.relays.prefix(1).compactMap { relay in
            relay.endpoints.first.map { Announcement.HomeRelay(id: relay.id, endpoint: $0) }
        })
    let directory = DirectoryClient(
        address: admission.mesh.directory, pin: admission.mesh.directoryPin,
        verifier: RecordVerifier(mesh: token.mesh, authorityKey: token.authorityKey), identity: identity,
        credential: admission.credential, logger: Logger(label: "crowd"))
    let connection = Task { await directory.run() }
    defer { connection.cancel() }
    for _ in 0..<500 {
        do throws(DirectoryError) {
            try await directory.publish(announcement)
            return
        } catch { guard case .disconnected = error else { throw error } }
        try await Task.sleep(nanoseconds: 20_000_000)
    }
    throw Failure(text: "crowd-\(number): the directory did not accept it")
}

do {
    let words = CommandLine.arguments
    guard words.count == 4, let first = UInt64(words[2]), let last = UInt64(words[3]), first <= last,
        let text = unsafe getenv("WARREN_CROWD_PREFIX"), let prefix = IPv6Address(unsafe String(cString: text))
    else { throw Failure(text: "usage: WARREN_CROWD_PREFIX=ADDRESS warren-crowd TOKEN-FILE FIRST LAST") }
    try Libsodium.initialize()
    var bytes = try FileDescriptor(open: words[1], O_RDONLY).readToEnd(limit: 4096)
    while bytes.last == UInt8(ascii: "\n") { bytes.removeLast() }
    let token = String(decoding: bytes, as: UTF8.self)
    try await withThrowingTaskGroup(of: Void.self) { group in
        var next = first
        while next <= last {
            if next >= first + 16 { try await group.next() }
            let number = next
            group.addTask { try await join(number, token: token, prefix: prefix) }
            next += 1
        }
        try await group.waitForAll()
    }
    print(last - first + 1)
} catch {
    writeErrorLine("warren-crowd: \((error as? Failure)?.text ?? "\(error)")")
    exit(1)
}
