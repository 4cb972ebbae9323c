import Foundation
import Lab
import Testing

extension EndToEnd {
    /// The lab itself: what the other tests stand on.
    @Suite struct Lab {
        @Test func `a home router passes answers and drops what is unasked`() throws {
            let sandbox = try Sandbox.unique()
            defer { sandbox.tearDown() }
            let underlay = try Underlay(in: sandbox)
            let home = try sandbox.namespace("home")
            try underlay.attach(home, to: Plan.siteA, host: 2)

            let listener = try home.spawn(["socat", "-u", "UDP4-RECV:4000", "STDOUT"])
            try home.waitListening(udp: 4000, listener)
            let address = "UDP4-SENDTO:\(Plan.siteA.publicAddress):4000,sourceport=5000"
            try underlay.hub.run("socat", "-u", "-", address, input: "unasked")
            listener.stop()
            #expect(listener.standardOutput.isEmpty)

            let server = try underlay.hub.spawn(["socat", "UDP4-RECVFROM:5000,fork", "EXEC:cat"])
            try underlay.hub.waitListening(udp: 5000, server)
            let asked = try home.result(
                of: ["socat", "-t", "1", "-", "UDP4:\(Plan.hub):5000,sourceport=4000"], input: "asked")
            #expect(asked.standardOutput == "asked")
            #expect(try underlay.leaks() == [])
        }

        @Test func `the search in a capture finds a payload that is in clear`() throws {
            let sandbox = try Sandbox.unique()
            defer { sandbox.tearDown() }
            let underlay = try Underlay(in: sandbox)
            let home = try sandbox.namespace("home")
            try underlay.attach(home, to: Plan.siteA, host: 2)
            let capture = try Capture(in: underlay.wan, link: Plan.siteA.router, filter: ["udp"])
            _ = try home.result(of: ["socat", "-u", "-", "UDP4:\(Plan.hub):9"], input: "a payload in clear")
            let packets = try capture.stop()
            #expect(packets.count(containing: "a payload in clear") == 1)
            #expect(packets.count(containing: "another payload") == 0)
        }

        @Test func `what a killed run leaves behind is removed by the next`() throws {
            let sandbox = try Sandbox.unique()
            let place = try sandbox.namespace("place")
            _ = try place.spawn(["sleep", "1000"])
            sandbox.keep()
            try waitUntil("namespace, process and folder", timeout: 5) { Sandbox.remains(of: sandbox.name).count == 3 }
            #expect(Sandbox.purge().contains(sandbox.name))
            #expect(Sandbox.remains(of: sandbox.name) == [])
        }

        @Test func `a sandbox in use is not removed`() throws {
            let sandbox = try Sandbox.unique()
            defer { sandbox.tearDown() }
            #expect(!Sandbox.purge().contains(sandbox.name))
            #expect(throws: LabError.self) { try Sandbox(name: sandbox.name) }
            #expect(Sandbox.remains(of: sandbox.name).isEmpty == false)
        }
    }
}
