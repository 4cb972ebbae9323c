package import Addressing
package import Sodium

/// Agent to relay, 72 bytes: the wish to register.
///
///     header (20: epoch 0, own id) | nonce (8) | zeros (44)
///
/// The zeros are there so that the challenge is not larger. The nonce comes back in all answers, so that somebody who
/// does not see it can't answer in the relay's place.
package struct Hello: Hashable, Sendable {
    package static let size = 72

    package var agent: AgentID
    package var nonce: UInt64

    package init(agent: AgentID, nonce: UInt64) {
        self.agent = agent
        self.nonce = nonce
    }

    package init(_ datagram: RawSpan) throws(FrameFault) {
        let header = try FrameHeader(datagram)
        guard datagram.byteCount >= Self.size, let nonce = datagram.bigEndian(UInt64.self, at: 20) else {
            throw .truncated
        }
        self.init(agent: header.agent, nonce: nonce)
    }

    package var bytes: [UInt8] {
        var builder = FrameBuilder(FrameHeader(.hello, epoch: 0, agent: agent), capacity: Self.size)
        builder.append(nonce)
        builder.pad(to: Self.size)
        return builder.bytes
    }
}

/// Relay to agent, 70 bytes: the cookie, and the agent's endpoint as the relay sees it.
///
///     header (20: epoch 0, the agent's id) | nonce (8) | cookie (24) | endpoint (18)
package struct Challenge: Hashable, Sendable {
    package static let size = 70

    package var agent: AgentID
    package var nonce: UInt64
    package var cookie: AddressCookie
    package var observed: Endpoint

    package init(agent: AgentID, nonce: UInt64, cookie: AddressCookie, observed: Endpoint) {
        self.agent = agent
        self.nonce = nonce
        self.cookie = cookie
        self.observed = observed
    }

    package init(_ datagram: RawSpan) throws(FrameFault) {
        let header = try FrameHeader(datagram)
        guard let nonce = datagram.bigEndian(UInt64.self, at: 20), let cookie = AddressCookie(datagram, at: 28),
            let observed = EndpointBytes.decode(datagram, at: 52)
        else { throw .truncated }
        self.init(agent: header.agent, nonce: nonce, cookie: cookie, observed: observed)
    }

    package var bytes: [UInt8] {
        var builder = FrameBuilder(FrameHeader(.challenge, epoch: 0, agent: agent), capacity: Self.size)
        builder.append(nonce)
        cookie.append(to: &builder)
        builder.append(EndpointBytes.encode(observed))
        return builder.bytes
    }
}

/// Agent to relay, 148 bytes and the credential: who the agent is, and that it is at this endpoint now.
///
///     header (20: epoch 0, own id) | nonce (8) | cookie (24) | identity key (32) | signature (64) | credential (1…1052)
///
/// The Ed25519 signature, by the identity key, is over
///
///     "warren relay registration 1" | relay id (32) | cookie (24) | endpoint (18)
///
/// and so is worth nothing at another relay, from another endpoint, or later.
package struct Proof: Hashable, Sendable {
    package static let headSize = 148
    /// What fits into 1,200 bytes, which every path carries.
    package static let maximumCredentialSize = 1052

    package var agent: AgentID
    package var nonce: UInt64
    package var cookie: AddressCookie
    package var identityKey: Ed25519.PublicKey
    package var signature: [UInt8]
    package var credential: [UInt8]

    package init(
        agent: AgentID, nonce: UInt64, cookie: AddressCookie, identityKey: Ed25519.PublicKey, signature: [UInt8],
        credential: [UInt8]
    ) {
        self.agent = agent
        self.nonce = nonce
        self.cookie = cookie
        self.identityKey = identityKey
        self.signature = signature
        self.credential = credential
    }

    package init(_ datagram: RawSpan) throws(FrameFault) {
        let header = try FrameHeader(datagram)
        let credentialSize = datagram.byteCount - Self.headSize
        guard (1...Self.maximumCredentialSize).contains(credentialSize),
            let nonce = datagram.bigEndian(UInt64.self, at: 20), let cookie = AddressCookie(datagram, at: 28),
            let identityKey = Ed25519.PublicKey(datagram.extracting(52..<84))
        else { throw .truncated }
        let tail = unsafe datagram.withUnsafeBytes { unsafe Array($0[84...]) }
        self.init(
            agent: header.agent, nonce: nonce, cookie: cookie, identityKey: identityKey,
            signature: Array(tail[..<64]), credential: Array(tail[64...]))
    }

    package var bytes: [UInt8] {
        let size = Self.headSize + credential.count
        var builder = FrameBuilder(FrameHeader(.proof, epoch: 0, agent: agent), capacity: size)
        builder.append(nonce)
        cookie.append(to: &builder)
        builder.append(identityKey.bytes)
        builder.append(signature)
        builder.append(credential)
        return builder.bytes
    }

    /// What the signature is over.
    package static func signedBytes(relay: AgentID, cookie: AddressCookie, observed: Endpoint) -> [UInt8] {
        Array("warren relay registration 1".utf8) + relay.bytes + cookie.bytes + EndpointBytes.encode(observed)
    }
}

/// Relay to agent, 48 bytes: registered, with the epoch that frames carry from now on.
///
///     header (20: the epoch, the agent's id) | nonce (8) | endpoint (18) | lifetime in seconds (2)
///
/// Without data or pings for the lifetime the registration ends.
package struct Accepted: Hashable, Sendable {
    package static let size = 48

    package var agent: AgentID
    package var epoch: UInt8
    package var nonce: UInt64
    package var observed: Endpoint
    package var lifetime: UInt16

    package init(agent: AgentID, epoch: UInt8, nonce: UInt64, observed: Endpoint, lifetime: UInt16) {
        self.agent = agent
        self.epoch = epoch
        self.nonce = nonce
        self.observed = observed
        self.lifetime = lifetime
    }

    package init(_ datagram: RawSpan) throws(FrameFault) {
        let header = try FrameHeader(datagram)
        guard let nonce = datagram.bigEndian(UInt64.self, at: 20),
            let observed = EndpointBytes.decode(datagram, at: 28),
            let lifetime = datagram.bigEndian(UInt16.self, at: 46)
        else { throw .truncated }
        self.init(agent: header.agent, epoch: header.epoch, nonce: nonce, observed: observed, lifetime: lifetime)
    }

    package var bytes: [UInt8] {
        var builder = FrameBuilder(FrameHeader(.accepted, epoch: epoch, agent: agent), capacity: Self.size)
        builder.append(nonce)
        builder.append(EndpointBytes.encode(observed))
        builder.append(lifetime)
        return builder.bytes
    }
}
