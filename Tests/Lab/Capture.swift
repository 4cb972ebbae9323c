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

    /// Ends the capture and returns the packets' bytes, from the link's header on.
    package func stop() throws -> [Data] {
        usleep(150_000)
        process.signal(SIGINT)
        _ = try process.wait(timeout: 5)
        defer { removeFile(path) }
        return try Self.packets(of: FileManager.default.contents(atPath: path) ?? Data())
    }

    /// The records of a little-endian pcap file (pcap-savefile(5)): 24 bytes of header, then for each packet its time
    /// (8 bytes), captured length (4), original length (4) and bytes.
    static func packets(of file: Data) throws(LabError) -> [Data] {
        guard file.count >= 24 else { throw .unexpected("the capture is empty") }
        var packets: [Data] = []
        var offset = file.startIndex + 24
        while offset + 16 <= file.endIndex {
            let length = (0..<4).reduce(0) { $0 | Int(file[offset + 8 + $1]) << (8 * $1) }
            guard offset + 16 + length <= file.endIndex else { break }
            packets.append(file[(offset + 16)..<(offset + 16 + length)])
            offset += 16 + length
        }
        return packets
    }
}

extension [Data] {
    /// How many packets contain `text`.
    package func count(containing text: String) -> Int {
        let needle = Data(text.utf8)
        return count { $0.range(of: needle) != nil }
    }
}
