import Foundation

/// Unmodified programs talking between two places: what the mesh must be transparent for.
///
/// Each function starts its server, waits until that listens, runs the client once and ends the server.
package enum Traffic {
    /// Fetches a file of `bytes` random bytes with curl from python's HTTP server; both copies must be equal.
    /// - Parameter host: what stands in the URL: a name, or an address (IPv6 in brackets).
    /// - Returns: curl's total time in seconds, and the address it connected to.
    package static func http(
        from client: some Place, to server: some Place, host: String, listen: String, bytes: Int
    ) throws -> (seconds: Double, address: String) {
        let folder = server.sandbox.path("www")
        try makeFolder(folder)
        try server.run("sh", "-c", "head -c \(bytes) /dev/urandom > \(folder)/file")
        let process = try server.spawn([
            "python3", "-m", "http.server", "8080", "--bind", listen, "--directory", folder,
        ])
        defer { process.stop() }
        try server.waitListening(tcp: 8080, process)
        let copy = client.sandbox.path("copy")
        let text = try client.run(
            "curl", "-sSf", "--max-time", "20", "-o", copy, "-w", "%{time_total} %{remote_ip}",
            "http://\(host):8080/file")
        try client.run("cmp", "\(folder)/file", copy)
        let words = text.split(separator: " ")
        guard words.count == 2, let seconds = Double(words[0]) else {
            throw LabError.unexpected("curl printed \(text)")
        }
        return (seconds, String(words[1]))
    }

    /// Sends `message` to a UDP echo (socat) and returns what came back.
    package static func udpEcho(
        from client: some Place, to server: some Place, address: String, message: String
    ) throws -> String {
        let (listen, connect) = address.contains(":") ? ("UDP6", "UDP6:[\(address)]") : ("UDP4", "UDP4:\(address)")
        let bind = address.contains(":") ? "[\(address)]" : address
        let process = try server.spawn(["socat", "\(listen)-LISTEN:7007,bind=\(bind),fork", "EXEC:cat"])
        defer { process.stop() }
        try server.waitListening(udp: 7007, process)
        let output = try client.result(of: ["socat", "-t", "0.3", "-", "\(connect):7007"], input: message)
        return output.standardOutput
    }

    /// TCP throughput in Mbit/s by iperf3, and how many segments were sent again.
    package static func throughput(
        from client: some Place, to server: some Place, address: String, seconds: Int, isReversed: Bool = false
    ) throws -> (megabits: Double, retransmitted: Int) {
        let process = try server.spawn(["iperf3", "-s", "-B", address, "-p", "5201"])
        defer { process.stop() }
        try server.waitListening(tcp: 5201, process)
        let words = ["iperf3", "-c", address, "-p", "5201", "-t", "\(seconds)", "-J"] + (isReversed ? ["-R"] : [])
        let output = try client.result(of: words, timeout: Double(seconds) + 20)
        guard output.succeeded,
            let report = try? JSONDecoder().decode(IperfReport.self, from: Data(output.standardOutput.utf8))
        else { throw LabError.command(words, status: output.status, text: output.text) }
        return (report.end.sum_received.bits_per_second / 1e6, report.end.sum_sent.retransmits ?? 0)
    }

    /// Sends `bytes` one way to a reader that takes 64 KiB and then sleeps for 2 ms.
    package static func slowReader(
        from client: some Place, to server: some Place, address: String, bytes: Int, timeout: Double
    ) throws -> SlowReaderReport {
        let reader = try server.spawn(["/usr/bin/python3", "-c", PythonPrograms.slowReader, address, "7010"])
        defer { reader.stop() }
        try server.waitListening(tcp: 7010, reader)
        let sent = try client.result(
            of: ["/usr/bin/python3", "-c", PythonPrograms.sender, address, "7010", "\(bytes)"], timeout: timeout)
        guard sent.succeeded else { throw LabError.command(["sender"], status: sent.status, text: sent.text) }
        guard try reader.wait(timeout: 20) == 0 else { throw LabError.unexpected(reader.standardError) }
        var report = try JSONDecoder().decode(SlowReaderReport.self, from: Data(reader.standardOutput.utf8))
        report.sentHash = sent.standardOutput.trimmingCharacters(in: .whitespacesAndNewlines)
        return report
    }

    /// A gRPC service and its client: unary calls, a stream each way. Returns the client's report.
    package static func grpc(from client: some Place, to server: some Place, address: String) throws -> String {
        let target = address.contains(":") ? "[\(address)]:7020" : "\(address):7020"
        let process = try server.spawn(["/usr/bin/python3", "-c", PythonPrograms.grpcServer, target])
        defer { process.stop() }
        try server.waitListening(tcp: 7020, process)
        return try client.run("/usr/bin/python3", "-c", PythonPrograms.grpcClient, target)
    }

    private struct IperfReport: Decodable {
        struct Sum: Decodable {
            let bits_per_second: Double
            let retransmits: Int?
        }
        struct End: Decodable {
            let sum_sent: Sum
            let sum_received: Sum
        }
        let end: End
    }
}

/// What the slow reader saw.
package struct SlowReaderReport: Decodable, Sendable {
    package let bytes: Int
    package let hash: String
    package let seconds: Double
    /// The longest time one read waited for its 64 KiB, in seconds.
    package let longestWait: Double
    package var sentHash: String?
}

extension Place {
    /// Waits until something listens on a TCP port here.
    package func waitListening(tcp port: Int, _ process: ChildProcess) throws {
        try waitListening("-Hltn", port, process)
    }

    /// Waits until something listens on a UDP port here.
    package func waitListening(udp port: Int, _ process: ChildProcess) throws {
        try waitListening("-Hlun", port, process)
    }

    private func waitListening(_ options: String, _ port: Int, _ process: ChildProcess) throws {
        try waitUntil("\(process.words.suffix(3)) listens on \(port)", timeout: 10) {
            guard process.isRunning else {
                throw LabError.ended("\(process.words.suffix(3))", text: process.standardError)
            }
            return try !run("ss", options, "sport = :\(port)").isEmpty
        }
    }
}
