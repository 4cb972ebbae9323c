import TestSupport
import Testing

@testable import CNI

/// Every verb in every version, with good and bad input, by the built program: what it must answer, to the byte. Needs
/// root.
///
/// In the golden text, `$VERSION` is the version asked for, `$POD` the namespace's path; `$4` and `$6` are the `version`
/// of an address and `$MTU` an interface's, where the version has them.
@Suite struct ConformanceTests {
    private let runtime: Runtime

    init() throws { runtime = try Runtime() }

    /// Variables that differ from a runtime's usual ones; nil takes one away.
    typealias Changes = [String: String?]

    enum Golden {
        /// Status 0 and this on stdout; nothing on stderr.
        case output(String)
        /// Status 1 and an error object with this code and text.
        case error(Int, String)

        static let silence = output("")
    }

    private static let least =
        #""cniVersion":"$VERSION","name":"mesh","type":"warren-cni","mesh":"fd00:9::/48","node":7,"dataDir":"$DIR""#
    private static let good = least + #","ipv4Range":"10.9.7.0/24","#
    private static let conf = "{" + good + #""ownerUid":64738}"#
    private static func conf(_ more: String) -> String { "{" + good + more + "}" }

    private static let ours =
        #"{"mac":"00:00:00:00:00:00",$MTU"name":"warren0","sandbox":"$POD"}],"#
    private static let alone =
        #"{"cniVersion":"$VERSION","dns":{},"interfaces":["# + ours
        + #""ips":[{"address":"fd00:9:0:7:a8de:4ddf:bc73:d709/128","interface":0$6},"#
        + #"{"address":"10.9.7.$HOST/32","interface":0$4}],"routes":[{"dst":"fd00:9::/48"},{"dst":"10.9.7.0/24"}]}"#

    /// What the plugins before us returned: an address of the pod, and keys that nobody has heard of.
    private static let primary =
        #"{"cniVersion":"$VERSION","interfaces":[{"name":"veth1","mac":"02:00:00:00:00:01","mtu":1460},"#
        + #"{"name":"eth0","mac":"02:00:00:00:00:02","sandbox":"$POD","x":[1,2.50,null]}],"#
        + #""ips":[{$04"address":"10.1.0.2/24","gateway":"10.1.0.1","interface":1}],"#
        + #""routes":[{"dst":"0.0.0.0/0","gw":"10.1.0.1"}],"dns":{"nameservers":["10.0.0.53"]},"io.example/y":{"z":1e3}}"#
    private static let chained =
        #"{"cniVersion":"$VERSION","dns":{"nameservers":["10.0.0.53"]},"#
        + #""interfaces":[{"mac":"02:00:00:00:00:01","mtu":1460,"name":"veth1"},"#
        + #"{"mac":"02:00:00:00:00:02","name":"eth0","sandbox":"$POD","x":[1,2.50,null]},"# + ours
        + #""io.example/y":{"z":1e3},"ips":[{"address":"10.1.0.2/24","gateway":"10.1.0.1","interface":1$4},"#
        + #"{"address":"fd00:9:0:7:a8de:4ddf:bc73:d709/128","interface":2$6},"#
        + #"{"address":"10.9.7.$HOST/32","interface":2$4}],"#
        + #""routes":[{"dst":"0.0.0.0/0","gw":"10.1.0.1"},{"dst":"fd00:9::/48"},{"dst":"10.9.7.0/24"}]}"#

    /// Calls whose answer does not depend on the version, in any order: nothing is there and nothing is made.
    private static let refused: [(String, String, Changes, String, Golden)] = [
        ("not JSON", "ADD", [:], "{", .error(6, "decode network configuration: not valid JSON")),
        ("nothing", "ADD", [:], "", .error(6, "decode network configuration: not valid JSON")),
        ("no object", "ADD", [:], "[]", .error(6, "decode network configuration: not an object")),
        (
            "a wrong type", "ADD", [:], #"{"cniVersion":"$VERSION","name":"mesh","node":"7"}"#,
            .error(6, "decode network configuration: key node is not of type integer")
        ),
        ("no name", "ADD", [:], #"{"cniVersion":"$VERSION"}"#, .error(7, "read name: missing network name")),
        (
            "a bad name", "DEL", [:], #"{"cniVersion":"$VERSION","name":"a/b"}"#,
            .error(7, "read name a/b: invalid characters in network name")
        ),
        ("no mesh", "ADD", [:], #"{"cniVersion":"$VERSION","name":"mesh"}"#, .error(7, "read mesh: missing")),
        (
            "three missing", "ADD", ["CNI_CONTAINERID": nil, "CNI_NETNS": nil, "CNI_IFNAME": ""], conf,
            .error(4, "required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME] missing")
        ),
        (
            "two missing", "DEL", ["CNI_CONTAINERID": nil, "CNI_NETNS": nil, "CNI_IFNAME": nil], conf,
            .error(4, "required env variables [CNI_CONTAINERID,CNI_IFNAME] missing")
        ),
        (
            "a bad id", "DEL", ["CNI_CONTAINERID": "-a"], conf,
            .error(4, "read CNI_CONTAINERID -a: invalid characters, or longer than 239 bytes")
        ),
        (
            "a long ifname", "ADD", ["CNI_IFNAME": "abcdefghijklmnop"], conf,
            .error(4, "read CNI_IFNAME abcdefghijklmnop: interface name longer than 15 bytes")
        ),
        ("a bad ifname", "ADD", ["CNI_IFNAME": ".."], conf, .error(4, "read CNI_IFNAME ..: interface name is . or ..")),
        ("an unknown verb", "UPDATE", [:], conf, .error(4, "read CNI_COMMAND: unknown command UPDATE")),
        ("arguments", "ADD", ["CNI_ARGS": "a=b=c"], conf, .error(4, "read CNI_ARGS: a=b=c is not KEY=VALUE")),
        (
            "unknown arguments", "ADD", ["CNI_ARGS": "B=1;A=2"], conf,
            .error(4, "read CNI_ARGS: unknown args [A,B]")
        ),
        (
            "no namespace", "ADD", ["CNI_NETNS": "/run/netns/none/none"], conf,
            .error(8, "open network namespace /run/netns/none/none: ENOENT (No such file or directory)")
        ),
        (
            "its own", "ADD", ["CNI_NETNS": "/proc/self/ns/net"], conf,
            .error(8, "attach to /proc/self/ns/net: it is the plugin's own network namespace")
        ),
        (
            "a previous result", "ADD", [:], conf(#""prevResult":7"#),
            .error(6, "decode prevResult: not an object")
        ),
        (
            "a previous result's version", "ADD", [:], conf(#""prevResult":{"cniVersion":"0.2.0"}"#),
            .error(1, "read cniVersion 0.2.0: incompatible; this plugin speaks 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0")
        ),
        (
            "an address of others", "ADD", [:], conf(#""runtimeConfig":{"IPs":["10.8.0.1"]}"#),
            .error(7, "reserve 10.8.0.1 for container abc interface eth0: not in the range 10.9.7.1-10.9.7.254")
        ),
        (
            "overlap", "ADD", [:], conf(#""refuseOverlap":["10.0.0.0/8"]"#),
            .error(106, "route 10.9.7.0/24 into warren0: it overlaps 10.0.0.0/8 of refuseOverlap")
        ),
        ("nobody", "DEL", ["CNI_NETNS": nil], conf, .silence),
        (
            "nobody, and little configured", "DEL", [:], #"{"cniVersion":"$VERSION","name":"mesh","dataDir":"$DIR"}"#,
            .silence
        ),
    ]

    @Test(arguments: CNIVersion.allCases)
    func `bad input is one error object, and changes nothing`(version: CNIVersion) throws {
        for (name, verb, changes, input, golden) in Self.refused {
            try expect(verb, version, changes, input, golden, name)
        }
        #expect(runtime.records.isEmpty && runtime.attachments.isEmpty)
        #expect(try runtime.link() == nil)
    }

    @Test(arguments: CNIVersion.allCases)
    func `an attachment's life, alone`(version: CNIVersion) throws {
        let old = version < .v1_1_0
        func tooNew(_ verb: String, _ since: String = "1.1.0") -> Golden {
            .error(1, "\(verb): cniVersion \(version.rawValue) has no such command, \(since) has")
        }
        let supported =
            #"{"cniVersion":"$VERSION","supportedVersions":["0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"]}"#
        let checked = Self.conf(#""prevResult":"# + Self.alone)
        func gone(_ what: String) -> Golden { .error(104, "check warren0: \(what)") }
        let stale = #""cni.dev/valid-attachments":[],"cni.dev/attachments":[]"#
        let valid = #""cni.dev/attachments":[{"containerID":"abc","ifname":"eth0"}]"#
        try expect("VERSION", version, ["CNI_NETNS": "dummy"], #"{"cniVersion":"$VERSION"}"#, .output(supported))
        try expect("STATUS", version, [:], Self.conf, old ? tooNew("STATUS") : .silence)
        try expect("GC", version, [:], Self.conf, old ? tooNew("GC") : .silence)
        try expect("ADD", version, [:], Self.conf, .output(Self.alone))
        try expect(
            "ADD", version, [:], Self.conf,
            .error(
                100,
                "attach container abc interface eth0 to mesh: it holds fd00:9:0:7:a8de:4ddf:bc73:d709, 10.9.7.1 already"
            ))
        if version < .v0_4_0 {
            try expect("CHECK", version, [:], checked, tooNew("CHECK", "0.4.0"))
        } else {
            try expect("CHECK", version, [:], checked, .silence)
            try expect("CHECK", version, [:], Self.conf, .error(7, "read prevResult: missing, CHECK needs it"))
        }
        // No list, or one with us in it, is no reason to go.
        try expect("GC", version, [:], Self.conf, old ? tooNew("GC") : .silence)
        try expect("GC", version, [:], Self.conf(valid), old ? tooNew("GC") : .silence)
        try expect("STATUS", version, [:], Self.conf, old ? tooNew("STATUS") : .silence)
        #expect(try runtime.link() != nil && runtime.attachments == ["abc:eth0"])
        if !old {
            try expect("GC", version, [:], Self.conf(stale), .silence)
            #expect(try runtime.link() == nil && runtime.attachments == [])
            try expect("ADD", version, [:], Self.conf, .output(Self.alone), host: 2)
        }
        try expect("DEL", version, [:], checked, .silence, host: old ? 1 : 2)
        try expect("DEL", version, ["CNI_NETNS": ""], Self.conf, .silence)
        if version >= .v0_4_0 {
            try expect(
                "CHECK", version, [:], checked,
                gone("prevResult has fd00:9:0:7:a8de:4ddf:bc73:d709/128, 10.9.7.1/32, the store has none"))
        }
        #expect(runtime.records.isEmpty && runtime.attachments.isEmpty)
        #expect(try runtime.link() == nil)
    }

    @Test(arguments: CNIVersion.allCases)
    func `an attachment's life, in a chain`(version: CNIVersion) throws {
        let host = try ScratchNamespace()
        try runtime.addPrimary(mtu: 1500, host: host)
        let first = Self.conf(#""prevResult":"# + Self.primary)
        let later = Self.conf(#""prevResult":"# + Self.chained)
        try expect("ADD", version, [:], first, .output(Self.chained))
        if version >= .v0_4_0 { try expect("CHECK", version, [:], later, .silence) }
        try expect("DEL", version, [:], later, .silence)
        // Another version before us: what we answer is in the one that was asked for.
        for other in CNIVersion.allCases {
            let theirs = Self.conf(#""prevResult":"# + fill(Self.primary, other, host: 0))
            let answer = try runtime.call(runtime.environment("ADD"), fill(theirs, version, host: 0))
            #expect(answer.status == 0 && answer.json?["cniVersion"] == .string(version.rawValue))
            let versions = answer.json?["ips"]?.elements?.map { $0["version"]?.text }
            #expect(versions == (version < .v1_0_0 ? ["4", "6", "4"] : [nil, nil, nil]))
            try expect("DEL", version, [:], Self.conf, .silence)
        }
    }

    /// Calls the program and compares.
    private func expect(
        _ verb: String, _ version: CNIVersion, _ changes: Changes, _ input: String, _ golden: Golden,
        _ name: String = "", host: Int = 1
    ) throws {
        var environment = runtime.environment(verb)
        for (key, value) in changes { environment[key] = value }
        let answer = try runtime.call(environment, fill(input, version, host: host))
        let label = "\(verb) \(name)"
        #expect(answer.diagnostics.isEmpty, "\(label)")
        switch golden {
        case .output(let text):
            #expect(answer.status == 0, "\(label): \(answer.output)")
            #expect(answer.output == fill(text, version, host: host), "\(label)")
        case .error(let code, let message):
            #expect(answer.status == 1, "\(label)")
            #expect(answer.code == Int64(code) && answer.message == message, "\(label): \(answer.output)")
            let keys = Set(["cniVersion", "code", "msg", "details"])
            #expect(keys.isSuperset(of: answer.json?.members?.keys.map { $0 } ?? ["none"]), "\(label)")
            #expect(answer.json?["cniVersion"]?.text.flatMap(CNIVersion.init(rawValue:)) != nil, "\(label)")
        }
    }

    private func fill(_ text: String, _ version: CNIVersion, host: Int) -> String {
        let old = version < .v1_0_0
        return text.replacing("$VERSION", with: version.rawValue).replacing("$POD", with: runtime.pod.path)
            .replacing("$DIR", with: runtime.folder.path).replacing("$HOST", with: "\(host)")
            .replacing("$04", with: old ? #""version":"4","# : "")
            .replacing("$4", with: old ? #","version":"4""# : "")
            .replacing("$6", with: old ? #","version":"6""# : "")
            .replacing("$MTU", with: version < .v1_1_0 ? "" : #""mtu":1400,"#)
    }
}
