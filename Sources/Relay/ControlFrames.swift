package import Addressing

/// Agent to relay and back, 28 bytes each: is the other end there, and how far away.
///
///     header (20: the registration's epoch, the agent's id) | nonce (8)
package struct Ping: Hashable, Sendable {
    package static let size = 28

    package var agent: AgentID
    package var epoch: UInt8
    package var nonce: UInt64

    package init(agent: AgentID, epoch: UInt8, nonce: UInt64) {
        self.agent = agent
        self.epoch = epoch
        self.nonce = nonce
    }

    /// A ping or a pong; the caller has looked at the type.
    package init(_ datagram: RawSpan) throws(FrameFault) {
        let header = try FrameHeader(datagram)
        guard let nonce = datagram.bigEndian(UInt64.self, at: 20) else { throw .truncated }
        self.init(agent: header.agent, epoch: header.epoch, nonce: nonce)
    }

    package var bytes: [UInt8] { bytes(.ping) }
    package var pongBytes: [UInt8] { bytes(.pong) }

    private func bytes(_ type: FrameType) -> [UInt8] {
        var builder = FrameBuilder(FrameHeader(type, epoch: epoch, agent: agent), capacity: Self.size)
        builder.append(nonce)
        return builder.bytes
    }
}

/// Why the relay did not serve a frame. Keeps unknown values.
package struct RelayErrorCode: RawRepresentable, Hashable, Sendable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }

    /// No agent with this id is registered here; the header holds the destination's id.
    package static let unknownDestination = Self(rawValue: 1)
    /// The sender's endpoint has no registration with this epoch: register again.
    package static let notRegistered = Self(rawValue: 2)
    /// The cookie is not of this relay, or too old: begin again with a hello.
    package static let badCookie = Self(rawValue: 3)
    /// Key, signature or credential do not prove membership under this id.
    package static let refused = Self(rawValue: 4)
    /// The relay has no room now: try later, or elsewhere.
    package static let busy = Self(rawValue: 5)
}

/// Relay to agent, 20 or 28 bytes: why a frame was not served. Rate-limited, and never larger than that frame.
///
///     header (20: flags = code, epoch and id from the question) | nonce (8, if the question had one)
package struct RelayErrorFrame: Hashable, Sendable {
    package var code: RelayErrorCode
    package var epoch: UInt8
    package var agent: AgentID
    package var nonce: UInt64?

    package init(code: RelayErrorCode, epoch: UInt8, agent: AgentID, nonce: UInt64?) {
        self.code = code
        self.epoch = epoch
        self.agent = agent
        self.nonce = nonce
    }

    package init(_ datagram: RawSpan) throws(FrameFault) {
        let header = try FrameHeader(datagram)
        self.init(
            code: RelayErrorCode(rawValue: header.flags), epoch: header.epoch, agent: header.agent,
            nonce: datagram.bigEndian(UInt64.self, at: 20))
    }

    package var bytes: [UInt8] {
        let header = FrameHeader(.error, flags: code.rawValue, epoch: epoch, agent: agent)
        var builder = FrameBuilder(header, capacity: 28)
        if let nonce { builder.append(nonce) }
        return builder.bytes
    }
}

/// Relay to agent, 20 bytes: register elsewhere within so many seconds (0…255), at a moment chosen at random.
///
///     header (20: flags = seconds, the registration's epoch, the agent's id)
package struct Drain: Hashable, Sendable {
    package var agent: AgentID
    package var epoch: UInt8
    package var seconds: UInt8

    package init(agent: AgentID, epoch: UInt8, seconds: UInt8) {
        self.agent = agent
        self.epoch = epoch
        self.seconds = seconds
    }

    package init(_ datagram: RawSpan) throws(FrameFault) {
        let header = try FrameHeader(datagram)
        self.init(agent: header.agent, epoch: header.epoch, seconds: header.flags)
    }

    package var bytes: [UInt8] {
        FrameBuilder(FrameHeader(.drain, flags: seconds, epoch: epoch, agent: agent), capacity: 20).bytes
    }
}
