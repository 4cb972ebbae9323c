import TestSupport
import Testing

@testable import CNI

/// Who is attached and who is passed through. Needs root.
@Suite struct OptInTests {
    private let runtime: Runtime
    private let previous: String

    init() throws {
        runtime = try Runtime()
        previous =
            #"{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","mtu":1500,"sandbox":"\#(runtime.pod.path)"}],"#
            + #""ips":[{"address":"10.1.0.2/24","interface":0,"vendor":1.50}],"routes":[{"dst":"0.0.0.0/0"}],"#
            + #""dns":{},"io.example/x":{"a":null}}"#
    }

    private func configuration(_ version: String = "1.0.0", annotations: String?, key: String = OptIn.capability)
        -> String
    {
        let runtimeConfig = annotations.map { #","runtimeConfig":{"\#(key)":\#($0)}"# } ?? ""
        return runtime.configuration(version, #""optIn":"annotation"\#(runtimeConfig)"#)
    }

    @Test(arguments: [
        nil, "null", "{}", #"{"other":"true"}"#, #"{"warren.dev/mesh":"false"}"#,
        #"{"warren.dev/mesh":"false","warren.dev/injected":"native"}"#,
    ])
    func `a pod that did not ask is passed through without a trace`(annotations: String?) throws {
        let text = configuration(annotations: annotations)
        let chained = Runtime.configuration(text, previous: previous)
        let added = try runtime.call("ADD", chained)
        #expect(added.status == 0 && added.diagnostics.isEmpty)
        #expect(added.json == (try JSONValue(parsing: Array(previous.utf8))))
        #expect(try runtime.call("CHECK", chained).status == 0)
        #expect(try runtime.link() == nil)
        #expect(runtime.folder.names("") == [])
        // Somebody else's TUN of that name stays, too.
        try runtime.ip("tuntap add dev warren0 mode tun user 1000")
        let deleted = try runtime.call("DEL", chained)
        #expect(deleted.status == 0 && deleted.output.isEmpty && deleted.diagnostics.isEmpty)
        #expect(try runtime.link() != nil)
    }

    @Test(arguments: CNIVersion.allCases)
    func `what is passed through is in the version asked for`(version: CNIVersion) throws {
        let text = Runtime.configuration(configuration(version.rawValue, annotations: nil), previous: previous)
        let four = version < .v1_0_0 ? #","version":"4""# : ""
        #expect(
            try runtime.call("ADD", text).output
                == #"{"cniVersion":"\#(version.rawValue)","dns":{},"interfaces":[{"mtu":1500,"name":"eth0","#
                + #""sandbox":"\#(runtime.pod.path)"}],"io.example/x":{"a":null},"ips":[{"address":"10.1.0.2/24","#
                + #""interface":0,"vendor":1.50\#(four)}],"routes":[{"dst":"0.0.0.0/0"}]}"#)
    }

    @Test(arguments: [
        (#"{"warren.dev/mesh":"true"}"#, OptIn.capability), (#"{"warren.dev/injected":"native"}"#, OptIn.capability),
        (#"{"warren.dev/mesh":"true"}"#, "IO.Kubernetes.CRI.Pod-Annotations"),
    ])
    func `a pod that asks is attached, and its DEL needs no annotation`(annotations: String, key: String) throws {
        let text = configuration(annotations: annotations, key: key)
        let added = try runtime.call("ADD", text)
        #expect(added.status == 0, "\(added.output)")
        #expect(try runtime.link() != nil)
        #expect(try runtime.call("CHECK", Runtime.configuration(text, previous: added.output)).status == 0)
        #expect(try runtime.call("DEL", configuration(annotations: nil)).status == 0)
        #expect(try runtime.link() == nil)
        #expect(runtime.records.isEmpty && runtime.attachments.isEmpty)
    }

    @Test func `what can't be understood is refused, not guessed`() throws {
        for annotations in [#"{"warren.dev/mesh":"yes"}"#, #"{"warren.dev/mesh":""}"#, "[]"] {
            let answer = try runtime.call("ADD", configuration(annotations: annotations))
            #expect(answer.code == 7, "\(answer.output)")
        }
        #expect(try runtime.call("ADD", runtime.configuration("1.0.0", #""optIn":"some""#)).code == 7)
        // Alone there is nothing to pass on.
        let alone = try runtime.call("ADD", configuration(annotations: nil))
        #expect(alone.code == 7 && alone.message.hasPrefix("pass the previous result on: there is none"))
        #expect(runtime.folder.names("") == [])
    }
}
