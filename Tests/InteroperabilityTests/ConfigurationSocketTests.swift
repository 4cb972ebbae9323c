import Glibc
import Lab
import Linux
import TestSupport
import Testing

extension Interoperability {
    /// Raw bytes on the configuration socket: an errno or a closed connection, never a crash or a hang.
    @Suite struct ConfigurationSocket {
        /// Sends `bytes`, and nothing more where `ends`, and reads until the other side closes or answers.
        private static func ask(_ end: End, _ bytes: [UInt8], ends: Bool = true) throws -> String {
            let socket = try UnixSocket.connect(path: end.socketPath)
            UnixSocket.setTimeout(socket, seconds: 8)
            // It may close before it has read all: an error, not a signal.
            _ = signal(SIGPIPE, SIG_IGN)
            try? socket.writeAll(bytes)
            if ends { _ = shutdown(socket.raw, Int32(SHUT_WR)) }
            var answer: [UInt8] = []
            while true {
                do {
                    let chunk = try socket.read(upTo: 65536)
                    if chunk.isEmpty { break }
                    answer += chunk
                } catch {
                    // Closed with bytes unread: what was answered before counts.
                    if error.errno == Errno(ECONNRESET) { break }
                    throw error
                }
                if !ends, answer.suffix(2) == [10, 10] { break }
            }
            return String(decoding: answer, as: UTF8.self)
        }

        private static func ask(_ end: End, _ text: String, ends: Bool = true) throws -> String {
            try ask(end, Array(text.utf8), ends: ends)
        }

        private func withEnd(_ body: (End) throws -> Void) throws {
            try withCable { cable in
                let end = try End(.ours, at: cable.a, number: 1)
                try end.start()
                let process = end.processes
                try end.setUp(port: 1001)
                try body(end)
                #expect(end.processes == process, "the process that was there is there")
                #expect(try end.status().publicKey == end.keys.publicKey)
            }
        }

        private static let key = String(repeating: "ab", count: 32)

        /// Requests and the errno that wireguard-go answers, too; its sign is what `wg` expects.
        private static let refused: [(String, Int32)] = [
            ("get=1\nfoo=1\n\n", EINVAL), ("set=1\nfoo=1\n\n", EINVAL), ("set=1\n=\n\n", EINVAL),
            ("set=1\nno equals sign\n\n", EPROTO), ("set=1\nprivate_key=zz\n\n", EINVAL),
            ("set=1\nprivate_key=\(key)ab\n\n", EINVAL), ("set=1\nprivate_key=\(key.dropLast())\n\n", EINVAL),
            ("set=1\nprivate_key=\(key.dropLast())g\n\n", EINVAL), ("set=1\nlisten_port=65536\n\n", EINVAL),
            ("set=1\nlisten_port=-1\n\n", EINVAL), ("set=1\nlisten_port=\n\n", EINVAL),
            ("set=1\nfwmark=4294967296\n\n", EINVAL), ("set=1\nreplace_peers=false\n\n", EINVAL),
            ("set=1\nallowed_ip=10.0.0.0/8\n\n", EINVAL), ("set=1\npublic_key=\(key.dropLast(2))\n\n", EINVAL),
            ("set=1\npublic_key=\(key)\nprivate_key=\(key)\n\n", EINVAL),
            ("set=1\npublic_key=\(key)\npreshared_key=1\n\n", EINVAL),
            ("set=1\npublic_key=\(key)\nendpoint=192.0.2.1\n\n", EINVAL),
            ("set=1\npublic_key=\(key)\nendpoint=192.0.2.1:65536\n\n", EINVAL),
            ("set=1\npublic_key=\(key)\nendpoint=example.net:1\n\n", EINVAL),
            ("set=1\npublic_key=\(key)\nallowed_ip=10.0.0.0/33\n\n", EINVAL),
            ("set=1\npublic_key=\(key)\nallowed_ip=10.0.0.0/-1\n\n", EINVAL),
            ("set=1\npublic_key=\(key)\nallowed_ip=::/129\n\n", EINVAL),
            ("set=1\npublic_key=\(key)\nremove=false\n\n", EINVAL),
            ("set=1\npublic_key=\(key)\nprotocol_version=2\n\n", EINVAL),
            ("set=1\npublic_key=\(key)\npersistent_keepalive_interval=65536\n\n", EINVAL),
        ]

        @Test func `what is refused is refused with the errno that wireguard-go gives`() throws {
            try withCable { cable in
                let ends = [try End(.ours, at: cable.a, number: 1), try End(.wireguardGo, at: cable.b, number: 2)]
                for end in ends {
                    try end.start()
                    try end.setUp(port: 1001)
                    for (request, errno) in Self.refused {
                        let answer = try Self.ask(end, request)
                        #expect(answer == "errno=-\(errno)\n\n", "\(end.implementation): \(request)")
                    }
                    #expect(try Self.ask(end, "set=1\n\n") == "errno=0\n\n")
                }
            }
        }

        @Test func `several requests on a connection are answered in turn`() throws {
            try withEnd { end in
                let answer = try Self.ask(end, "set=1\nfwmark=5\n\nget=1\n\nset=1\nbad=1\n\nset=1\nfwmark=0\n\n")
                #expect(answer.hasPrefix("errno=0\n\n") && answer.hasSuffix("\n\nerrno=0\n\n"))
                #expect(answer.contains("fwmark=5\nerrno=0\n\nerrno=-\(EINVAL)\n\n"))
            }
        }

        @Test func `a request that is cut off changes nothing`() throws {
            try withEnd { end in
                let request = "set=1\nlisten_port=1002\nfwmark=7\n\n"
                for length in 0..<request.utf8.count - 1 {
                    let answer = try Self.ask(end, Array(request.utf8.prefix(length)))
                    #expect(answer.isEmpty || answer.hasPrefix("errno=-"), "\(length): \(answer)")
                }
                let status = try end.status()
                #expect(status.listenPort == 1001 && status.firewallMark == "off")
            }
        }

        @Test func `those who leave before the answer do no harm`() throws {
            try withEnd { end in
                for round in 0..<100 {
                    let socket = try UnixSocket.connect(path: end.socketPath)
                    try socket.writeAll(Array("get=1\n\n".utf8))
                    // Every other one is gone before the second request is read.
                    if round % 2 == 0 { try socket.writeAll(Array("get=1\n\nset=1\nfwmark=0\n\n".utf8)) }
                }
                let status = try end.status()
                #expect(status.listenPort == 1001)
            }
        }

        @Test func `one who asks and never finishes holds others up for 5 s at most`() throws {
            try withEnd { end in
                let silent = try UnixSocket.connect(path: end.socketPath)
                try silent.writeAll(Array("set=1\nfwmark=".utf8))
                let start = Clock.now
                #expect(try end.status().listenPort == 1001)
                let seconds = Clock.now - start
                #expect(seconds < 6)
                figure("wg behind a silent client", "\(seconds) s")
            }
        }

        @Test func `huge requests and floods of lines end with an errno or a closed connection`() throws {
            try withEnd { end in
                let start = Clock.now
                let peers = (0..<2000).map(Self.peer).joined()
                let added = try Self.ask(end, "set=1\n" + peers + "\n")
                #expect(added == "errno=0\n\n")
                let count = try end.status().peers.count
                #expect(count == 2000)
                let removed = try Self.ask(end, "set=1\nreplace_peers=true\n\n")
                #expect(removed == "errno=0\n\n")
                for line in ["a", "a=b\n"] {
                    let text = String(repeating: line, count: (20 << 20) / line.utf8.count)
                    let answer = try Self.ask(end, "set=1\n" + text)
                    #expect(answer.isEmpty)
                }
                figure("2,000 peers and two requests of 20 MiB", "\(Clock.now - start) s")
            }
        }

        private static func peer(_ number: Int) -> String {
            "public_key=\(Self.number(number))\nallowed_ip=10.0.\(number / 256).\(number % 256)/32\n"
        }

        private static func number(_ value: Int) -> String {
            let digits = String(value + 1, radix: 16)
            return String(repeating: "0", count: 64 - digits.count) + digits
        }

        @Test func `a thousand mutations of good requests never crash or hang it`() throws {
            try withEnd { end in
                let seed = UInt64.random(in: .min ... .max)
                print("  seed: \(seed)")
                var random = SeededRandom(seed: seed)
                let good = [
                    "get=1\n\n",
                    "set=1\nprivate_key=\(Self.key)\nlisten_port=0\nfwmark=0x10\nreplace_peers=true\n\n",
                    "set=1\npublic_key=\(Self.key)\nupdate_only=true\npreshared_key=\(Self.key)\n"
                        + "endpoint=[2001:db8::9]:9\npersistent_keepalive_interval=9\nreplace_allowed_ips=true\n"
                        + "allowed_ip=10.0.0.0/8\nallowed_ip=fd00::/8\nprotocol_version=1\n\n",
                    "set=1\npublic_key=\(Self.key)\nremove=true\n\n",
                ].map { Array($0.utf8) }
                var (refused, closed) = (0, 0)
                for round in 0..<1000 {
                    var bytes = good[Int.random(in: 0..<good.count, using: &random)]
                    for _ in 0...Int.random(in: 0..<4, using: &random) { Self.mutate(&bytes, &random) }
                    let answer = try Self.ask(end, bytes)
                    let isAnswer = answer.isEmpty || answer.hasSuffix("\n\n") && answer.contains("errno=")
                    #expect(isAnswer, "seed \(seed), round \(round)")
                    if answer.isEmpty { closed += 1 } else if !answer.contains("errno=0") { refused += 1 }
                }
                figure("1,000 mutations", "\(refused) refused, \(closed) closed")
                #expect(refused > 300)
                try end.setUp(port: 1001)
            }
        }

        private static func mutate(_ bytes: inout [UInt8], _ random: inout SeededRandom) {
            guard !bytes.isEmpty else { return }
            let index = Int.random(in: 0..<bytes.count, using: &random)
            switch Int.random(in: 0..<7, using: &random) {
            case 0: bytes[index] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            case 1: bytes[index] = UInt8.random(in: .min ... .max, using: &random)
            case 2: bytes.remove(at: index)
            case 3: bytes.insert(UInt8.random(in: .min ... .max, using: &random), at: index)
            case 4: bytes.insert(contentsOf: bytes[index...].prefix(200), at: index)
            case 5: bytes.removeLast(bytes.count - index)
            default: bytes.insert(10, at: index)
            }
        }
    }
}
