import Addressing
import Directory
import Logging
import Membership
import Sodium
import Synchronization
import Timing

/// What the agent joins with.
enum JoinMethod: ~Copyable, Sendable {
    case token(JoinToken)
    /// The token of the pod's service account, read anew each time.
    case account(AccountTokenFile, HubReference)

    var hub: HubReference {
        switch self {
        case .token(let token): token.hub
        case .account(_, let hub): hub
        }
    }
}

/// How the agent comes into the mesh and stays: joins, renews, leaves, and announces.
final class AgentMembership: Sendable {
    let verifier: RecordVerifier
    let mesh: String
    private let method: JoinMethod
    private let hub: HubReference
    private let proxies: ProxyRules
    /// Where the authority is, and its TLS key's pin.
    var authority: (address: HubAddress, pin: Bytes32) { (hub.address, hub.pin) }
    private let folder: StateFolder
    private let identity: Identity
    private let name: String
    private let logger: Logger
    private let sequence = Mutex(AnnouncementSequence())

    init(
        _ method: consuming JoinMethod, folder: consuming StateFolder, identity: Identity, name: String,
        proxies: ProxyRules,
        logger: Logger
    ) {
        let hub = method.hub
        self.hub = hub
        verifier = RecordVerifier(mesh: hub.mesh, authorityKey: hub.authorityKey)
        mesh = hub.mesh
        self.method = method
        self.folder = folder
        self.identity = identity
        self.name = name
        self.proxies = proxies
        self.logger = logger
    }

    /// Joins, or renews when the state folder has a credential that is still valid; retries while the hub is out of reach.
    ///
    /// - Throws: `SidecarError.hub` when the hub says no: another attempt would get the same answer.
    func admit(
        _ addresses: [IPAddress], unreachable: @Sendable (DirectoryError) -> Void
    ) async throws -> AuthorityClient.Admission {
        var delay = Interval.milliseconds(250)
        while true {
            var pause = delay
            do {
                let admission = try await attempt(addresses, isStart: true)
                try folder.store(credential: admission.credential.text)
                guard Set(admission.credential.addresses) == Set(addresses) else {
                    throw SidecarError.hub(
                        "the hub's credential is for \(admission.credential.addresses), but the interface has \(addresses); release the old address with `warren-hub release`, or give the agent a new state folder"
                    )
                }
                let skew = admission.hubTime.seconds - WallTime.now().seconds
                if abs(skew) > 30 { logger.warning("this clock and the hub's are \(skew) s apart: set the time") }
                return admission
            } catch let error as DirectoryError {
                guard error.isWorthAnotherAttempt else { throw SidecarError.hub("join mesh \(mesh): \(error)") }
                unreachable(error)
                if case .later(let seconds, _) = error { pause = max(delay, .seconds(UInt64(min(seconds, 60)) * 2)) }
                logger.warning("join mesh \(mesh): \(error); trying again")
            }
            var random = SecureRandom()
            // From half of it on: a hub that asks to come again is asked no sooner, as it was doubled.
            let jitter = UInt64.random(in: 0...(pause.nanoseconds / 2), using: &random)
            try await Task.sleep(nanoseconds: pause.nanoseconds / 2 + jitter)
            delay = min(delay * 2, .seconds(10))
        }
    }

    /// Renews the credential, or joins anew where the hub has let the old one go meanwhile.
    func renew(_ addresses: [IPAddress]) async throws(DirectoryError) -> AuthorityClient.Admission {
        let admission = try await attempt(addresses)
        guard Set(admission.credential.addresses) == Set(addresses) else {
            throw .protocolViolation(
                "a credential for \(admission.credential.addresses), but the interface has \(addresses)")
        }
        return admission
    }

    func leave() async throws(DirectoryError) {
        try await client().leave(identity: identity)
        folder.removeCredential()
    }

    func store(_ credential: Credential) throws(SidecarError) { try folder.store(credential: credential.text) }

    /// A fresh announcement, above all before it and above `known`.
    ///
    /// - Throws: `.staleSequence` when `known` can't be ours.
    func announcement(
        key: X25519.PublicKey, relays: [Announcement.HomeRelay], services: [AgentService], above known: UInt64 = 0
    ) throws(MembershipError) -> Announcement {
        let wall = WallTime.now()
        guard let sequence = sequence.withLock({ $0.next(at: wall, above: known) }) else {
            throw .staleSequence(known: known, got: UInt64(clamping: wall.seconds))
        }
        let expires = WallTime(seconds: wall.seconds + Credential.lifetime)
        return try Announcement(
            identity: identity, sequence: sequence, expires: expires,
            keys: [Announcement.StaticKey(key: key, notBefore: wall, expires: expires)],
            relays: relays, services: services)
    }

    /// - Parameter isStart: whether anything that lets this process carry on is good enough.
    private func attempt(
        _ addresses: [IPAddress], isStart: Bool = false
    ) async throws(DirectoryError) -> AuthorityClient.Admission {
        switch method {
        case .token(let token): return try await attempt(token, addresses)
        case .account(let file, _): return try await attempt(file, addresses, isStart: isStart)
        }
    }

    /// Joining and renewing are the same, by the pod's token of now. While the hub can't have it reviewed, a process that
    /// starts again goes on with the credential that it had, which its identity key alone gets back.
    private func attempt(
        _ file: AccountTokenFile, _ addresses: [IPAddress], isStart: Bool
    ) async throws(DirectoryError) -> AuthorityClient.Admission {
        let client = try client()
        do throws(DirectoryError) {
            return try await file.withToken { (token) async throws(DirectoryError) in
                try await client.join(account: token, identity: identity, addresses: addresses)
            }
        } catch {
            guard isStart, isMember, case .later = error else { throw error }
            guard let admission = try? await client.renew(identity: identity),
                Set(admission.credential.addresses) == Set(addresses)
            else { throw error }
            logger.warning("\(error); going on with the credential until \(admission.credential.expires.seconds)")
            return admission
        }
    }

    /// Whether the state folder has a credential that is still valid.
    private var isMember: Bool {
        folder.credential().map {
            (try? Credential(
                verifying: $0, mesh: mesh, authorityKey: verifier.authorityKey, now: WallTime.now())) != nil
        } ?? false
    }

    private func attempt(
        _ token: borrowing JoinToken, _ addresses: [IPAddress]
    ) async throws(DirectoryError) -> AuthorityClient.Admission {
        let client = try client()
        if isMember {
            do {
                let admission = try await client.renew(identity: identity)
                if Set(admission.credential.addresses) == Set(addresses) { return admission }
            } catch {
                guard error.code == .notMember else { throw error }
            }
        }
        return try await client.join(secret: token.secret, identity: identity, name: name, addresses: addresses)
    }

    private func client() throws(DirectoryError) -> AuthorityClient {
        try AuthorityClient(hub: hub, proxy: proxies.proxy(for: hub.address.host))
    }
}

extension DirectoryError {
    /// Whether the hub may give another answer later: it is out of reach, or failed, or holds an old claim that expires.
    var isWorthAnotherAttempt: Bool {
        switch self {
        case .unreachable, .disconnected, .timeout, .later, .unreadableToken: true
        case .refused(let code, _): code == .internal || code == .tooMany
        case .wrongPin, .invalidRecord, .staleSequence, .protocolViolation, .oversizedSignal: false
        }
    }
}
