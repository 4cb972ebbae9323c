import Addressing
import Foundation
import Hub
import Membership
import Sodium
import Testing

/// `warren-hub` as people run it: the built program, beside the test bundle.
@Suite(.timeLimit(.minutes(2))) struct CommandTests {
    private static let program: URL? = {
        let bundle = CommandLine.arguments.first { $0.contains(".xctest") }
        let folder = bundle.flatMap { path in
            path.range(of: ".xctest").map {
                URL(fileURLWithPath: String(path[..<$0.upperBound])).deletingLastPathComponent()
            }
        }
        return folder?.appendingPathComponent("warren-hub")
    }()

    private func start(_ arguments: [String]) throws -> (Process, out: Pipe, error: Pipe) {
        let process = Process()
        process.executableURL = Self.program
        process.arguments = arguments
        let (out, error) = (Pipe(), Pipe())
        process.standardOutput = out
        process.standardError = error
        try process.run()
        return (process, out, error)
    }

    private func run(_ arguments: String...) throws -> (status: Int32, out: String, error: String) {
        let (process, out, error) = try start(arguments)
        let outText = String(decoding: out.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        let errorText = String(decoding: error.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        return (process.terminationStatus, outText, errorText)
    }

    private func withHub(_ body: (String) throws -> Void) throws {
        let path = TestHub.temporaryFolder()
        defer { TestHub.remove(path) }
        let made = try run(
            "init", "--dir", path, "--mesh", "demo", "--prefix", "fd12:3456:789a::/48", "--ipv4-range", "10.9.0.0/16",
            "--address", "127.0.0.1:7443", "--relay", "127.0.0.1:3478")
        #expect(made.status == 0)
        #expect(made.out.hasPrefix("made a hub for mesh demo"))
        try body(path)
    }

    @Test func `init again changes nothing and says so`() throws {
        try withHub { path in
            let again = try run(
                "init", "--dir", path, "--mesh", "x", "--prefix", "fd00::/48", "--address", "h:1", "--relay",
                "127.0.0.1:1")
            #expect(again.status == 0)
            #expect(again.out.contains("nothing was changed"))
        }
    }

    @Test func `advertise changes what is named, keeps the rest and the keys, and shows it`() throws {
        try withHub { path in
            let before = try HubFolder(opening: path)
            let shown = try run("advertise", "--dir", path)
            #expect(shown.status == 0)
            #expect(shown.out.contains("  TLS pin        \(before.pin.base64)\n"))
            #expect(shown.out.contains("  relay id       \(try before.relayID())\n"))
            #expect(try HubFolder(opening: path).configuration == before.configuration)

            let (pin, id) = (before.configuration.authorityKey.base64, try before.relayID())
            let changed = try run(
                "advertise", "--dir", path, "--directory", "other:7444", "--directory-pin", pin, "--relay",
                "\(id)@192.0.2.1:3478", "--relay", "192.0.2.2:3478")
            #expect(changed.status == 0)
            let after = try HubFolder(opening: path)
            #expect(after.configuration.directory?.address.description == "other:7444")
            #expect(after.configuration.directory?.pin == before.configuration.authorityKey)
            #expect(after.configuration.relays.map(\.endpoint.description) == ["192.0.2.1:3478", "192.0.2.2:3478"])
            #expect(after.configuration.relays.map(\.id) == [id, nil])
            #expect(after.configuration.mesh == before.configuration.mesh)
            #expect(after.configuration.authorityKey == before.configuration.authorityKey)
            #expect(after.pin == before.pin)
            let attributes = try FileManager.default.attributesOfItem(atPath: "\(path)/hub.json")
            #expect(attributes[.posixPermissions] as? Int == 0o600)

            for wrong in [
                ["--directory", "other:7444"], ["--directory-pin", pin], ["--relay", "x"], ["--stun", "y"],
            ] {
                let (process, _, error) = try start(["advertise", "--dir", path] + wrong)
                let text = String(decoding: error.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
                process.waitUntilExit()
                #expect(process.terminationStatus == 1)
                #expect(text.hasPrefix("warren-hub: --"))
            }
            #expect(try HubFolder(opening: path).configuration == after.configuration)
        }
    }

    @Test(arguments: [
        ["--mesh", "Demo", "--prefix", "fd12:3456:789a::/48", "--address", "h:1"],
        ["--mesh", "demo", "--prefix", "2001:db8::/48", "--address", "h:1"],
        ["--mesh", "demo", "--prefix", "fd12:3456:789a::/64", "--address", "h:1"],
        ["--mesh", "demo", "--prefix", "fd12:3456:789a::/48", "--address", "h"],
        ["--mesh", "demo", "--prefix", "fd12:3456:789a::/48", "--address", "h:1", "--relay", "h:1"],
        ["--mesh", "demo", "--prefix", "fd12:3456:789a::/48", "--address", "h:1", "--ipv4-range", "10.9.0.0/33"],
    ])
    func `init with a wrong option makes nothing`(options: [String]) throws {
        let path = TestHub.temporaryFolder()
        let (process, _, error) = try start(["init", "--dir", path] + options)
        let text = String(decoding: error.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        #expect(process.terminationStatus == 1)
        #expect(text.hasPrefix("warren-hub: --"))
        #expect(!FileManager.default.fileExists(atPath: path))
    }

    @Test func `a token is all that token create prints`() throws {
        try withHub { path in
            let made = try run("token", "create", "--dir", path, "--name", "agent-*", "--uses", "3", "--expires", "2h")
            #expect(made.status == 0)
            #expect(made.error.isEmpty)
            let token = try JoinToken(made.out)
            #expect(token.mesh == "demo")
            let id = String(JoinToken.hash(ofSecret: token.secret).description.prefix(12))
            let list = try run("token", "list", "--dir", path)
            #expect(list.out.contains(id) && list.out.contains("agent-*"))
            #expect(try run("token", "revoke", "--dir", path, id).status == 0)
            #expect(try run("token", "revoke", "--dir", path, id).status == 1)
            let outside = try run("token", "create", "--dir", path, "--range", "fd99::/64")
            #expect(outside.status == 1)
            #expect(outside.out.isEmpty)
        }
    }

    @Test func `serve ends with 0 on SIGTERM, after answering health`() throws {
        try withHub { path in
            let (process, _, error) = try start([
                "serve", "--dir", path, "--listen", "127.0.0.1:0", "--relay-listen", "127.0.0.1:0",
            ])
            defer { if process.isRunning { process.interrupt() } }
            var log = ""
            while !log.contains("health: on") {
                let data = error.fileHandleForReading.availableData
                if data.isEmpty { break }
                log += String(decoding: data, as: UTF8.self)
            }
            #expect(
                log.contains("authority: on") && log.contains("directory: on") && log.contains("relay and STUN: on"))
            let port = try #require(log.split(separator: "127.0.0.1:").last?.prefix { $0.isNumber })
            let health = try run("health", "--dir", path, "--address", "127.0.0.1:\(port)")
            #expect(health.out.hasPrefix(#"{"status":"ok""#))
            process.terminate()
            process.waitUntilExit()
            #expect(process.terminationReason == .exit)
            #expect(process.terminationStatus == 0)
            let gone = try run("health", "--dir", path, "--address", "127.0.0.1:\(port)")
            #expect(gone.status == 1)
        }
    }

    @Test func `serve without its key refuses in one line`() throws {
        try withHub { path in
            try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: "\(path)/authority.key")
            let refused = try run("serve", "--dir", path, "--listen", "127.0.0.1:0", "--relay-listen", "127.0.0.1:0")
            #expect(refused.status == 1)
            #expect(refused.error.hasPrefix("warren-hub: \(path)/authority.key has mode 644"))
            #expect(refused.error.split(separator: "\n").count == 1)
            let nowhere = try run("serve", "--dir", "/nonexistent")
            #expect(nowhere.status == 1)
            #expect(nowhere.error.hasPrefix("warren-hub: /nonexistent is not a hub's folder"))
        }
    }

    @Test func `relay serves alone with the authority's public key, and prints what advertise takes`() throws {
        try withHub { path in
            let hub = try HubFolder(opening: path)
            let folder = TestHub.temporaryFolder()
            defer { TestHub.remove(folder) }
            let options = [
                "relay", "--dir", folder, "--mesh", "demo", "--authority-key", hub.configuration.authorityKey.base64,
                "--udp", "192.0.2.3:3478", "--tls", "relay.example:443", "--listen", "127.0.0.1:0", "--relay-listen",
                "127.0.0.1:0",
            ]
            let (process, out, error) = try start(options)
            defer { if process.isRunning { process.interrupt() } }
            let line = String(decoding: out.fileHandleForReading.availableData, as: UTF8.self)
            var log = ""
            while !log.contains("health: on") {
                let data = error.fileHandleForReading.availableData
                if data.isEmpty { break }
                log += String(decoding: data, as: UTF8.self)
            }
            #expect(log.contains("relay and STUN: on") && !log.contains("authority: on"))
            let relay = try HubFolder(opening: folder)
            #expect(!FileManager.default.fileExists(atPath: "\(folder)/authority.key"))
            let text = "\(try relay.relayID())@192.0.2.3:3478,relay.example:443,\(relay.pin.base64)"
            #expect(line == "warren-hub advertise --relay \(text)\n")

            let changed = try run("advertise", "--dir", path, "--relay", text)
            #expect(changed.status == 0)
            let advertised = try HubFolder(opening: path).configuration.relays
            #expect(advertised.map(\.text) == [text])
            process.terminate()
            process.waitUntilExit()
            #expect(process.terminationStatus == 0)

            // Again with the same key it is the same relay; with another it refuses.
            var other = options
            other[6] = Bytes32.zero.base64
            let (refused, _, reason) = try start(other)
            let said = String(decoding: reason.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
            refused.waitUntilExit()
            #expect(refused.terminationStatus == 1)
            #expect(said.hasPrefix("warren-hub: --dir \(folder): it belongs to mesh demo"))
        }
    }
}
