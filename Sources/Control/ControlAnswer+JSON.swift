extension ControlAnswer {
    /// One line of JSON without a newline, with keys in the order of their bytes, as `JSONEncoder` writes this type with sorted
    /// keys and plain slashes; which reads it, too. By hand, because Foundation would be a tenth of a sidecar's memory.
    package var json: String {
        var writer = JSONWriter()
        writer.object { object in
            if let error { object.member("error") { $0.string(error) } }
            if let identity { object.member("identity") { identity.write(to: &$0) } }
            if let netcheck { object.member("netcheck") { netcheck.write(to: &$0) } }
            if let peers { object.member("peers") { $0.array(peers) { peer, item in peer.write(to: &item) } } }
            if let status { object.member("status") { status.write(to: &$0) } }
        }
        return writer.text
    }
}

extension StatusReport {
    fileprivate func write(to writer: inout JSONWriter) {
        writer.object { object in
            object.member("addresses") { $0.strings(addresses) }
            object.member("credentialExpiresInSeconds") { $0.literal("\(credentialExpiresInSeconds)") }
            if let dns { object.member("dns") { dns.write(to: &$0) } }
            object.member("drops") { $0.counts(drops) }
            object.member("hub") { $0.string(hub) }
            object.member("hubDetail") { $0.string(hubDetail) }
            object.member("id") { $0.string(id) }
            object.member("listenPort") { $0.literal("\(listenPort)") }
            object.member("lockedSecretSlabs") { $0.literal("\(lockedSecretSlabs)") }
            object.member("mapped") { $0.strings(mapped) }
            object.member("mesh") { $0.string(mesh) }
            object.member("name") { $0.string(name) }
            object.member("nat") { $0.string(nat) }
            object.member("portMapped") { $0.string(portMapped) }
            object.member("publicKey") { $0.string(publicKey) }
            object.member("ready") { $0.literal("\(ready)") }
            object.member("relay") { $0.string(relay) }
            object.member("relayUp") { $0.literal("\(relayUp)") }
            object.member("relays") { $0.array(relays) { relay, item in relay.write(to: &item) } }
            object.member("secretSlabs") { $0.literal("\(secretSlabs)") }
            object.member("uptimeSeconds") { $0.number(uptimeSeconds) }
            object.member("waitingFor") { $0.strings(waitingFor) }
        }
    }
}

extension DNSReport {
    fileprivate func write(to writer: inout JSONWriter) {
        writer.object { object in
            object.member("domain") { $0.string(domain) }
            object.member("queries") { $0.counts(queries) }
            object.member("resolvers") { $0.strings(resolvers) }
            object.member("upstreams") { $0.strings(upstreams) }
            object.member("upstreamsDown") { $0.literal("\(upstreamsDown)") }
        }
    }
}

extension RelayReport {
    fileprivate func write(to writer: inout JSONWriter) {
        writer.object { object in
            object.member("address") { $0.string(address) }
            object.member("id") { $0.string(id) }
            object.member("role") { $0.string(role) }
            if let rttMs { object.member("rttMs") { $0.number(rttMs) } }
            object.member("state") { $0.string(state) }
            object.member("transport") { $0.string(transport) }
            if let upAfterMs { object.member("upAfterMs") { $0.number(upAfterMs) } }
        }
    }
}

extension PeerReport {
    fileprivate func write(to writer: inout JSONWriter) {
        writer.object { object in
            object.member("addresses") { $0.strings(addresses) }
            if let directAfterMs { object.member("directAfterMs") { $0.number(directAfterMs) } }
            object.member("endpoint") { $0.string(endpoint) }
            if let handshakeAgeS { object.member("handshakeAgeS") { $0.number(handshakeAgeS) } }
            object.member("id") { $0.string(id) }
            object.member("name") { $0.string(name) }
            object.member("path") { $0.string(path) }
            object.member("publicKey") { $0.string(publicKey) }
            if let rttMs { object.member("rttMs") { $0.number(rttMs) } }
            object.member("rxBytes") { $0.literal("\(rxBytes)") }
            object.member("transport") { $0.string(transport) }
            object.member("txBytes") { $0.literal("\(txBytes)") }
        }
    }
}

extension IdentityReport {
    fileprivate func write(to writer: inout JSONWriter) {
        writer.object { object in
            object.member("addresses") { $0.strings(addresses) }
            object.member("id") { $0.string(id) }
            object.member("name") { $0.string(name) }
            object.member("subject") { $0.string(subject) }
        }
    }
}

/// Text of JSON (RFC 8259), written from front to back.
struct JSONWriter {
    private(set) var text = ""
    private var needsComma = false

    fileprivate mutating func counts(_ counts: [String: UInt64]) {
        object { object in
            for (name, count) in counts.sorted(by: { $0.key < $1.key }) {
                object.member(name) { $0.literal("\(count)") }
            }
        }
    }

    mutating func object(_ members: (inout JSONWriter) -> Void) { enclose("{", "}", members) }

    mutating func member(_ name: String, _ value: (inout JSONWriter) -> Void) {
        separate()
        string(name)
        text += ":"
        value(&self)
        needsComma = true
    }

    mutating func array<Item>(_ items: [Item], _ write: (Item, inout JSONWriter) -> Void) {
        enclose("[", "]") { writer in
            for item in items {
                writer.separate()
                write(item, &writer)
                writer.needsComma = true
            }
        }
    }

    mutating func strings(_ items: [String]) { array(items) { item, writer in writer.string(item) } }

    /// Null when it is not finite: JSON has no such numbers.
    mutating func number(_ value: Double) {
        guard value.isFinite else { return literal("null") }
        let digits = "\(value)"
        literal(digits.hasSuffix(".0") ? String(digits.dropLast(2)) : digits)
    }

    mutating func literal(_ value: String) { text += value }

    mutating func string(_ value: String) {
        text += "\""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\r": text += "\\r"
            case "\t": text += "\\t"
            case "\u{8}": text += "\\b"
            case "\u{c}": text += "\\f"
            case "\0"..<" ":
                let digits = String(scalar.value, radix: 16)
                text += "\\u" + String(repeating: "0", count: 4 - digits.utf8.count) + digits
            default: text.unicodeScalars.append(scalar)
            }
        }
        text += "\""
    }

    private mutating func enclose(_ open: String, _ close: String, _ body: (inout JSONWriter) -> Void) {
        text += open
        needsComma = false
        body(&self)
        text += close
        needsComma = false
    }

    private mutating func separate() {
        if needsComma { text += "," }
        needsComma = false
    }
}
