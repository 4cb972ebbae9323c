import Addressing
import Testing

@testable import Sidecar

@Suite struct OpenConnectionsTests {
    private static let head =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"

    private func count(_ lines: [String], at addresses: [String]) -> Int {
        OpenConnections.count(
            in: ([Self.head] + lines).joined(separator: "\n") + "\n", at: Set(addresses.compactMap { IPAddress($0) }))
    }

    private func line(_ local: String, _ state: String, inode: Int = 12345) -> String {
        "   0: \(local):1F90 0200640A:C350 \(state) 00000000:00000000 00:00000000 00000000  1000        0 \(inode) 1 0000 20 4 30 10 -1"
    }

    @Test func `counts open connections at the addresses, of both families`() {
        // 10.100.0.2, fd77::9 and ::ffff:10.100.0.2 as x86 prints them.
        let lines = [
            line("0200640A", "01"), line("0300640A", "01"), line("000077FD000000000000000009000000", "01"),
            line("0000000000000000FFFF00000200640A", "01"),
        ]
        #expect(count(lines, at: ["10.100.0.2"]) == 2)
        #expect(count(lines, at: ["10.100.0.2", "10.100.0.3"]) == 3)
        #expect(count(lines, at: ["10.100.0.4"]) == 0)
        #expect(count(lines, at: ["fd77::9"]) == 1)
    }

    @Test(arguments: [
        ("01", 1), ("02", 1), ("03", 1), ("04", 1), ("05", 1), ("06", 0), ("07", 0), ("08", 1), ("09", 1), ("0A", 0),
        ("0B", 1),
    ])
    func `what only waits for the other end, or for anybody, is not open`(_ state: String, _ expected: Int) {
        #expect(count([line("0200640A", state)], at: ["10.100.0.2"]) == expected)
    }

    @Test func `a closed end that nobody owns is not waited for`() {
        #expect(count([line("0200640A", "05", inode: 0)], at: ["10.100.0.2"]) == 0)
        #expect(count([line("0200640A", "04", inode: 0)], at: ["10.100.0.2"]) == 1)
    }

    @Test(arguments: ["", "junk", "  0: ", "  0: XYZ:1 2 01 4 5 6 7 8 9 10", "  0: 0200640A:1F90 x zz 0 0 0 0 0 0 0"])
    func `junk counts nothing`(_ line: String) {
        #expect(count([line], at: ["10.100.0.2"]) == 0)
    }
}
