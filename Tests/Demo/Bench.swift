import Glibc
import Lab

/// `warren-demo bench`: `warrend wireguard` beside Debian's wireguard-go, interleaved in one run, same two hosts.
///
/// ```
///   left 10.99.1.2 ─── middle (routes) ─── right 10.99.2.2        inside the tunnel: 10.98.0.1 ─── 10.98.0.2
/// ```
struct Bench {
    private struct Subject {
        let name: String
        /// Runs an interface, given its name, in the foreground.
        let command: [String]
        var megabits: [Double] = []
        var roundTrips: [Double] = []
    }

    private let sandbox: Sandbox
    private let left: Namespace
    private let right: Namespace
    private let screen = Screen()
    private let rounds = 3

    init(in sandbox: Sandbox) throws {
        self.sandbox = sandbox
        left = try sandbox.namespace("left")
        right = try sandbox.namespace("right")
        let middle = try sandbox.namespace("middle")
        try left.connect("eth0", "10.99.1.2/24", to: middle, "left", "10.99.1.1/24")
        try right.connect("eth0", "10.99.2.2/24", to: middle, "right", "10.99.2.1/24")
        try left.route("default", via: "10.99.1.1")
        try right.route("default", via: "10.99.2.1")
        try middle.forward()
    }

    func run(programs: String) throws {
        screen.title("TCP through a userspace tunnel, \(rounds) interleaved rounds of 4 s, MTU 1420")
        let go = Sandbox.find("wireguard-go")
        var subjects = [Subject(name: "warrend", command: ["\(programs)/warrend", "wireguard", "-f"])]
        if let go { subjects.append(Subject(name: "wireguard-go", command: [go, "-f"])) }
        for round in 1...rounds {
            for index in subjects.indices {
                let (megabits, roundTrip) = try measure(subjects[index].command)
                subjects[index].megabits.append(megabits)
                subjects[index].roundTrips.append(roundTrip)
                screen.step(
                    "round \(round), \(subjects[index].name): \(fixed(megabits, 0)) Mbit/s, \(milliseconds(roundTrip))")
            }
        }
        var table = Table(header: ["median of \(rounds)", "Mbit/s", "round trip"])
        for subject in subjects {
            table.add([
                subject.name, fixed(Self.median(subject.megabits), 0), milliseconds(Self.median(subject.roundTrips)),
            ])
        }
        screen.plain("")
        table.lines.forEach { screen.plain($0) }
    }

    /// Brings the tunnel up with one program at both ends, measures, and takes it down.
    private func measure(_ command: [String]) throws -> (megabits: Double, roundTrip: Double) {
        let ends = [
            (place: left, link: "wbench-l", inner: "10.98.0.1", outer: "10.99.1.2:51820"),
            (place: right, link: "wbench-r", inner: "10.98.0.2", outer: "10.99.2.2:51820"),
        ]
        let daemons = try ends.map { try $0.place.spawn(command + [$0.link], environment: ["LOG_LEVEL": "error"]) }
        defer {
            daemons.forEach { $0.stop() }
            ends.forEach { removeFile("/var/run/wireguard/\($0.link).sock") }
        }
        let keys = try ends.map { end in
            let key = try end.place.run("wg", "genkey")
            return (secret: key, shown: Self.trimmed(try end.place.run("wg", "pubkey", input: key)))
        }
        for (index, end) in ends.enumerated() {
            let other = 1 - index
            try waitUntil("\(command[0]) serves \(end.link)", timeout: 5) {
                guard daemons[index].isRunning else {
                    throw LabError.ended(command[0], text: daemons[index].standardError)
                }
                return try end.place.result(of: ["wg", "show", end.link]).succeeded
            }
            try end.place.run(
                "wg", "set", end.link, "private-key", "/dev/stdin", "listen-port", "51820", "peer", keys[other].shown,
                "allowed-ips", "\(ends[other].inner)/32", "endpoint", ends[other].outer, input: keys[index].secret)
            try end.place.run("ip", "address", "add", "\(end.inner)/24", "dev", end.link)
            try end.place.run("ip", "link", "set", end.link, "mtu", "1420", "up")
        }
        let first = try left.ping(ends[1].inner, count: 3)
        guard first.received > 0 else { throw LabError.unexpected("no answer through the tunnel of \(command[0])") }
        let roundTrip = try left.ping(ends[1].inner, count: 200, interval: 0.005).average
        let result = try Traffic.throughput(from: left, to: right, address: ends[1].inner, seconds: 4)
        return (result.megabits, roundTrip)
    }

    private static func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }

    private static func trimmed(_ text: String) -> String { String(text.prefix { !$0.isNewline }) }
}
