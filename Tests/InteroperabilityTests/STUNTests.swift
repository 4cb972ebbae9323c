import Addressing
import Glibc
import Lab
import Linux
import STUN
import Testing

extension Interoperability {
    /// Our STUN client and server beside coturn's, and beside a client from before RFC 5389, through real NATs.
    @Suite(.serialized) struct STUNTests {
        static let tools = [
            ("turnserver", "coturn"), ("turnutils_natdiscovery", "coturn"), ("turnutils_stunclient", "coturn"),
            ("stun", "stun-client"), ("nft", "nftables"), ("conntrack", "conntrack"),
        ]

        @Test func `these tests have their tools`() {
            #expect(Requirements.missing(Self.tools) == [])
        }

        @Test func `our client tells each kind of NAT by coturn, as it does by our hub`() throws {
            try withNATBench { bench in
                for server in [Server.coturn, .hub] {
                    let process = try server.start(bench)
                    for kind in NATBench.kinds {
                        try bench.become(kind)
                        let start = Clock.now
                        let behavior = try bench.discover()
                        let seconds = Clock.now - start
                        figure("\(server.rawValue), \(kind.testDescription)", "\(behavior) in \(seconds.rounded3) s")
                        #expect(behavior.mapping == kind.mapping)
                        #expect(behavior.filtering == kind.filtering)
                        #expect(behavior.isTranslated == true)
                        #expect(Self.isLike(behavior.allocation, kind.allocation), "\(behavior.samples)")
                        #expect(seconds < 2.5)
                    }
                    process.stop()
                }
            }
        }

        /// A block is told by those of its ports that were seen.
        private static func isLike(_ found: PortAllocation?, _ expected: PortAllocation?) -> Bool {
            if case .block(let lowest, let highest)? = found, case .block(let first, let last)? = expected {
                return first <= lowest && highest <= last
            }
            return found == expected
        }

        @Test func `coturn's client tells each kind of NAT by our hub, in the words that it uses with coturn`() throws {
            try withNATBench { bench in
                for kind in NATBench.kinds.prefix(6) {
                    var verdicts: [Server: [String]] = [:]
                    for server in [Server.coturn, .hub] {
                        let process = try server.start(bench)
                        try bench.become(kind)
                        // Filtering on another port than mapping, which would open it.
                        verdicts[server] = try Self.verdicts(bench, "-m") + Self.verdicts(bench, "-f")
                        process.stop()
                    }
                    figure(kind.testDescription, "\(verdicts[.hub] ?? [])")
                    #expect(verdicts[.hub] == verdicts[.coturn])
                    #expect(verdicts[.hub]?.contains { $0.contains(kind.mapping.words + " Mapping") } == true)
                    #expect(verdicts[.hub]?.contains { $0.contains(kind.filtering.words + " Filtering") } == true)
                }
            }
        }

        private static func verdicts(_ bench: NATBench, _ option: String) throws -> [String] {
            let output = try bench.host.result(
                of: [
                    "turnutils_natdiscovery", option, "-L", NATBench.hostAddress, "-l",
                    "\(Int.random(in: 20_000..<30_000))",
                    "-p", "3478", NATBench.first,
                ], timeout: 60)
            return output.standardOutput.split(separator: "\n").map(String.init).filter { $0.contains("NAT") }
        }

        @Test func `coturn's other questions are answered: lifetime, padding and hairpinning`() throws {
            try withNATBench { bench in
                let process = try Server.hub.start(bench)
                defer { process.stop() }
                let ask = ["turnutils_natdiscovery", "-L", NATBench.second, "-p", "3478"]
                let lifetime = try bench.outside.result(of: ask + ["-t", "-T", "1", NATBench.first], timeout: 20)
                #expect(lifetime.standardOutput.contains("RFC 5780 response 2"))
                let padded = try bench.outside.result(of: ask + ["-m", "-P", "-H", NATBench.first], timeout: 20)
                #expect(padded.standardOutput.contains("NAT with Endpoint Independent Mapping"))
                let all = try bench.outside.result(
                    of: ["turnutils_stunclient", "-L", NATBench.second, "-p", "3478", NATBench.first], timeout: 20)
                #expect(all.standardOutput.contains("RFC 5780 response 3"))
            }
        }

        @Test func `a stock client's 20 bytes are answered by the relay's port too`() throws {
            try withNATBench { bench in
                let process = try Server.hub.start(bench)
                defer { process.stop() }
                try bench.become(NATBench.kinds[0])
                let output = try bench.host.result(
                    of: ["turnutils_stunclient", "-p", "\(Server.relayPort)", NATBench.first], timeout: 20)
                #expect(output.standardOutput.contains("UDP reflexive addr: \(NATBench.router):"))
            }
        }

        @Test func `a classic client of RFC 3489 is served as by coturn`() throws {
            try withNATBench { bench in
                for kind in [NATBench.kinds[0], NATBench.kinds[1], NATBench.kinds[2]] {
                    var answers: [Server: String] = [:]
                    for server in [Server.coturn, .hub] {
                        let process = try server.start(bench)
                        try bench.become(kind)
                        let output = try bench.host.result(of: ["stun", NATBench.first], timeout: 60)
                        answers[server] = output.standardOutput
                        process.stop()
                    }
                    let answer = answers[.hub] ?? ""
                    figure(kind.testDescription, answer.split(separator: "\n").dropFirst().first.map(String.init) ?? "")
                    #expect(answer.contains("Independent Mapping"))
                    #expect(answer == answers[.coturn])
                }
            }
        }
    }
}

/// A hub in the bench's outside, with relay, and STUN at two addresses.
struct BenchHub {
    static let control = "\(NATBench.first):7443"
    static let relay = "\(NATBench.first):\(Server.relayPort)"

    let folder: String
    /// As people copy it from `warren-hub advertise`.
    let pin: String
    private let program: String
    private let environment: [String: String]

    init(_ bench: NATBench) throws {
        let programs = try Programs.folder()
        (folder, program) = (bench.sandbox.path("hub"), "\(programs)/warren-hub")
        environment = Image.environment(folder: programs)
        let output = try bench.outside.result(
            of: [
                program, "init", "--dir", folder, "--mesh", "demo", "--prefix", "fd77:6172:7265::/48", "--address",
                Self.control, "--relay", Self.relay, "--stun", "\(NATBench.first):3478",
            ], environment: environment)
        let line = output.standardOutput.split(separator: "\n").first { $0.contains("TLS pin") }
        guard let pin = line?.split(separator: " ").last else { throw LabError.unexpected(output.text) }
        self.pin = String(pin)
    }

    func start(_ bench: NATBench) throws -> ChildProcess {
        try bench.outside.spawn(
            [
                program, "serve", "--dir", folder, "--listen", "0.0.0.0:7443", "--relay-listen",
                "0.0.0.0:\(Server.relayPort)", "--stun-listen", "\(NATBench.first):3478", "--stun-listen",
                "\(NATBench.second):3479",
            ], environment: environment)
    }

    func token(_ bench: NATBench) throws -> String {
        let output = try bench.outside.result(
            of: [program, "token", "create", "--dir", folder], environment: environment)
        return output.standardOutput
    }
}

/// A STUN server at the bench's two addresses and ports 3478 and 3479.
enum Server: String {
    case coturn, hub

    static let relayPort = 3470

    func start(_ bench: NATBench) throws -> ChildProcess {
        let process: ChildProcess
        switch self {
        case .coturn:
            process = try bench.outside.spawn([
                "turnserver", "-n", "--no-auth", "--no-tls", "--no-dtls", "--no-cli", "-L", NATBench.first, "-L",
                NATBench.second, "--listening-port", "3478", "--alt-listening-port", "3479", "--log-file", "stdout",
                "--pidfile", bench.sandbox.path("turn.pid"), "--userdb", bench.sandbox.path("turn.db"),
            ])
        case .hub:
            process = try BenchHub(bench).start(bench)
        }
        try waitUntil("\(rawValue) serves STUN", timeout: 10) {
            guard process.isRunning else { throw LabError.ended(rawValue, text: process.standardError) }
            return try Self.answers(bench)
        }
        return process
    }

    private static func answers(_ bench: NATBench) throws -> Bool {
        let socket = try DatagramSocket.bind(in: bench.outside, NATBench.second)
        var random = SystemRandomNumberGenerator()
        let request = MessageBuilder(.request, transaction: TransactionID(using: &random)).bytes
        guard let server = Endpoint("\(NATBench.first):3478") else { return false }
        try socket.send(request, to: server)
        return socket.receive(timeout: 0.1) != nil
    }
}

extension MappingBehavior {
    /// As coturn's client writes it.
    fileprivate var words: String {
        switch self {
        case .endpointIndependent: "Endpoint Independent"
        case .addressDependent: "Address Dependent"
        case .addressAndPortDependent, .destinationDependent: "Address and Port Dependent"
        }
    }
}

extension FilteringBehavior {
    fileprivate var words: String {
        switch self {
        case .endpointIndependent: "Endpoint Independent"
        case .addressDependent: "Address Dependent"
        case .addressAndPortDependent: "Address and Port Dependent"
        }
    }
}

extension Double {
    fileprivate var rounded3: Double { (self * 1000).rounded() / 1000 }
}
