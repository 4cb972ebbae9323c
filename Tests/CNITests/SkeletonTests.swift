import Testing

@testable import CNI

/// What needs no namespace; the verbs themselves are tested through the built program.
@Suite struct SkeletonTests {
    private func respond(_ environment: [String: String], _ input: String = "") -> (Skeleton.Response, JSONValue?) {
        let response = Skeleton.respond(environment: environment) { () throws(CNIError) in Array(input.utf8) }
        return (response, try? JSONValue(parsing: response.output))
    }

    private let add = [
        "CNI_COMMAND": "ADD", "CNI_CONTAINERID": "a", "CNI_NETNS": "/x", "CNI_IFNAME": "eth0", "CNI_PATH": "/x",
    ]

    @Test func `run by hand it says what it is, on stderr`() {
        let (response, _) = respond([:])
        #expect(response.status == 0 && response.output.isEmpty)
        #expect(response.diagnostics.contains("CNI protocol versions supported: 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0"))
    }

    @Test(arguments: CNIVersion.allCases)
    func `VERSION repeats the caller's version`(version: CNIVersion) {
        let dummy = ["CNI_COMMAND": "VERSION", "CNI_NETNS": "dummy", "CNI_IFNAME": "dummy", "CNI_PATH": "dummy"]
        let (response, json) = respond(dummy, #"{"cniVersion":"\#(version.rawValue)"}"#)
        #expect(response.status == 0)
        #expect(json?["cniVersion"] == .string(version.rawValue))
        #expect(
            json?["supportedVersions"]?.elements?.compactMap(\.text) == ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"])
    }

    @Test(arguments: ["", "{", "7", #"{"cniVersion":7}"#])
    func `VERSION answers whatever stdin holds`(input: String) {
        let (response, json) = respond(["CNI_COMMAND": "VERSION"], input)
        #expect(response.status == 0 && json?["cniVersion"] == .string("1.1.0"))
    }

    @Test func `an unknown version is incompatible, and so is none`() {
        for input in [
            #"{"cniVersion":"0.2.0","name":"mesh"}"#, #"{"cniVersion":"2.0.0","name":"mesh"}"#, #"{"name":"mesh"}"#,
        ] {
            let (response, json) = respond(add, input)
            #expect(response.status == 1 && json?["code"] == .integer(1))
        }
    }

    @Test(arguments: [("CHECK", "0.3.1"), ("CHECK", "0.3.0"), ("GC", "1.0.0"), ("STATUS", "1.0.0")])
    func `a verb younger than the configuration's version is incompatible`(command: String, version: String) {
        let (response, json) = respond(
            add.merging(["CNI_COMMAND": command]) { $1 }, #"{"cniVersion":"\#(version)","name":"mesh"}"#)
        #expect(response.status == 1 && json?["code"] == .integer(1))
        #expect(json?["cniVersion"] == .string(version))
    }

    @Test(arguments: ["ADD", "DEL", "CHECK"])
    func `a bad network name is a configuration error for every verb`(command: String) {
        let (response, json) = respond(
            add.merging(["CNI_COMMAND": command]) { $1 }, #"{"cniVersion":"1.0.0","name":"../../etc"}"#)
        #expect(response.status == 1 && json?["code"] == .integer(7))
    }

    @Test func `stdin that can't be read is an I/O failure`() {
        let response = Skeleton.respond(environment: add) { () throws(CNIError) in throw .inputOutput("read: EIO") }
        #expect((try? JSONValue(parsing: response.output))?["code"] == .integer(5))
    }

    @Test func `CHECK without a previous result is a configuration error`() {
        let (_, json) = respond(
            add.merging(["CNI_COMMAND": "CHECK"]) { $1 },
            #"{"cniVersion":"1.0.0","name":"mesh","mesh":"fd00:9::/48","node":1}"#)
        #expect(json?["code"] == .integer(7) && json?["msg"]?.text?.contains("prevResult") == true)
    }
}
