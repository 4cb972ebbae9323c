import Lab

/// What `wg show INTERFACE dump` says (wg(8)): tab-separated, the interface first, then a line a peer.
struct Status: Equatable {
    struct Peer: Equatable {
        let publicKey: String
        let presharedKey: String
        /// `(none)` when not known.
        let endpoint: String
        let allowedIPs: [String]
        /// In seconds since 1970; 0 for none yet.
        let latestHandshake: Int
        let received: Int
        let sent: Int
        /// `off`, or in seconds.
        let keepalive: String
    }

    let privateKey: String
    let publicKey: String
    let listenPort: Int
    let firewallMark: String
    let peers: [Peer]

    init(_ text: String) throws {
        let lines = text.split(separator: "\n").map { $0.split(separator: "\t").map(String.init) }
        guard let first = lines.first, first.count == 4, let port = Int(first[2]) else {
            throw LabError.unexpected("wg printed \(text)")
        }
        (privateKey, publicKey, listenPort, firewallMark) = (first[0], first[1], port, first[3])
        peers = try lines.dropFirst().map { words in
            guard words.count == 8, let handshake = Int(words[4]), let received = Int(words[5]),
                let sent = Int(words[6])
            else { throw LabError.unexpected("wg printed \(text)") }
            return Peer(
                publicKey: words[0], presharedKey: words[1], endpoint: words[2],
                allowedIPs: words[3].split(separator: ",").map(String.init).sorted(), latestHandshake: handshake,
                received: received, sent: sent, keepalive: words[7])
        }
    }
}
