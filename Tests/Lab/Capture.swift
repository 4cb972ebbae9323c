package import Foundation
import Glibc

/// A running packet capture in a namespace (tcpdump), read back as the packets' bytes.
package final class Capture {
    private let process: ChildProcess
    private let path: String
    private let description: String

    /// Captures on `link`; returns once tcpdump listens.
    package init(in place: some Place, link: String, filter: [String] = []) throws {
        path = place.sandbox.path("capture.pcap")
        description = "capture on \(link)"
        let words = ["tcpdump", "-i", link, "-n", "-s", "0", "-U", "--immediate-mode", "-Z", "root", "-w", path]
        process = try place.spawn(words + filter)
        try waitUntil(description, timeout: 10) { [process] in
            if !process.isRunning { throw LabError.ended("tcpdump", text: process.standardError) }
            return process.standardError.contains("listening on")
        }
    }

    /// Ends the capture and returns the packets.
    package func stop() throws -> [CapturedPacket] {
        usleep(150_000)
        process.signal(SIGINT)
        _ = try process.wait(timeout: 5)
        defer { removeFile(path) }
        return try Self.packets(of: FileManager.default.contents(atPath: path) ?? Data())
    }

    /// The records of a little-endian pcap file (pcap-savefile(5)): 24 bytes of header, then for each packet its time
    /// (seconds and microseconds, 4 bytes each), captured length (4), original length (4) and bytes.
    static func packets(of file: Data) throws(LabError) -> [CapturedPacket] {
        let file = Data(file)
        guard file.count >= 24 else { throw .unexpected("the capture is empty") }
        func number(_ offset: Int) -> Int { (0..<4).reduce(0) { $0 | Int(file[offset + $1]) << (8 * $1) } }
        var packets: [CapturedPacket] = []
        var offset = 24
        while offset + 16 <= file.count {
            let length = number(offset + 8)
            guard offset + 16 + length <= file.count else { break }
            let time = Double(number(offset)) + Double(number(offset + 4)) / 1e6
            packets.append(CapturedPacket(time: time, bytes: Data(file[(offset + 16)..<(offset + 16 + length)])))
            offset += 16 + length
        }
        return packets
    }
}

/// One packet as it was on a link, from the link's header on.
package struct CapturedPacket: Sendable {
    /// Seconds since 1970.
    package let time: Double
    package let bytes: Data
}

extension [CapturedPacket] {
    /// How many packets contain `text`.
    package func count(containing text: String) -> Int {
        let needle = Data(text.utf8)
        return count { $0.bytes.range(of: needle) != nil }
    }
}
