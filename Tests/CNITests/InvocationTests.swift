import Addressing
import Testing

@testable import CNI

@Suite struct InvocationTests {
    private let full = [
        "CNI_COMMAND": "ADD", "CNI_CONTAINERID": "abc", "CNI_NETNS": "/run/netns/x", "CNI_IFNAME": "eth0",
    ]

    @Test func `a complete environment is read, and only its own variables`() throws {
        let invocation = try #require(try Invocation(environment: full.merging(["PATH": "/bin"]) { $1 }))
        #expect(invocation.command == .add && invocation.containerID == "abc")
        #expect(invocation.netns == "/run/netns/x" && invocation.ifName == "eth0")
        #expect(!invocation.mayTouchOwnNamespace)
    }

    @Test func `no command at all is not an error`() throws {
        #expect(try Invocation(environment: [:]) == nil)
    }

    @Test(arguments: [
        ("ADD", "[CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME]"), ("CHECK", "[CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME]"),
        ("DEL", "[CNI_CONTAINERID,CNI_IFNAME]"), ("GC", "[CNI_PATH]"), ("STATUS", "[CNI_PATH]"),
    ])
    func `all missing variables are named in one error`(command: String, names: String) {
        #expect(throws: CNIError.invalidEnvironment("required env variables \(names) missing")) {
            try Invocation(environment: ["CNI_COMMAND": command, "CNI_NETNS": ""])
        }
    }

    @Test func `DEL needs no namespace`() throws {
        let invocation = try Invocation(environment: full.merging(["CNI_COMMAND": "DEL", "CNI_NETNS": ""]) { $1 })
        #expect(invocation?.netns == nil)
    }

    @Test(arguments: ["VERSION", "GC", "STATUS"])
    func `verbs without a container validate nothing of it`(command: String) throws {
        let dummy = [
            "CNI_COMMAND": command, "CNI_NETNS": "dummy", "CNI_IFNAME": "a/very/long/dummy", "CNI_PATH": "dummy",
        ]
        #expect(try Invocation(environment: dummy)?.command.rawValue == command)
    }

    @Test(arguments: ["../etc", "a/b", ".hidden", "-x", "a b", "ü", "a\nb", "a:b", String(repeating: "a", count: 240)])
    func `a container id that is no file name is refused`(id: String) {
        let error = #expect(throws: CNIError.self) {
            try Invocation(environment: full.merging(["CNI_CONTAINERID": id]) { $1 })
        }
        #expect(error?.code == 4)
    }

    @Test(arguments: ["abcdefghijklmnop", ".", "..", "a/b", "a:b", "a b", "a\tb"])
    func `an interface name that the kernel refuses is refused`(name: String) {
        let error = #expect(throws: CNIError.self) {
            try Invocation(environment: full.merging(["CNI_IFNAME": name]) { $1 })
        }
        #expect(error?.code == 4)
    }

    @Test func `fifteen bytes are still an interface name`() throws {
        #expect(try Invocation(environment: full.merging(["CNI_IFNAME": "abcdefghijklmno"]) { $1 }) != nil)
    }

    @Test func `an unknown command is named`() {
        #expect(throws: CNIError.invalidEnvironment("read CNI_COMMAND: unknown command add")) {
            try Invocation(environment: full.merging(["CNI_COMMAND": "add"]) { $1 })
        }
    }

    @Test(arguments: [("1", true), ("true", true), ("TRUE", true), ("0", false), ("yes", false)])
    func `the override of the own-namespace guard is explicit`(value: String, expected: Bool) throws {
        let invocation = try Invocation(environment: full.merging(["CNI_NETNS_OVERRIDE": value]) { $1 })
        #expect(invocation?.mayTouchOwnNamespace == expected)
    }
}

@Suite struct ArgumentsTests {
    @Test func `the pod is whatever the runtime says of it`() throws {
        let all = try Arguments(parsing: "K8S_POD_UID=1;IgnoreUnknown=1;K8S_POD_NAME=a;K8S_POD_NAMESPACE=b").pod
        #expect(all == AttachmentRecord.Pod(namespace: "b", name: "a", uid: "1"))
        let podman = try Arguments(parsing: "IgnoreUnknown=1;K8S_POD_NAME=a").pod
        #expect(podman == AttachmentRecord.Pod(namespace: nil, name: "a", uid: nil))
        #expect(try Arguments(parsing: "").pod == nil)
        #expect(try Arguments(parsing: "K8S_POD_UID=").pod == nil)
        #expect(try Arguments(parsing: "K8S_POD_UID=\(String(repeating: "a", count: 254))").pod == nil)
    }

    @Test func `the order of the pairs does not matter`() throws {
        #expect(try Arguments(parsing: "FOO=1;IP=10.0.0.5;IgnoreUnknown=1").addresses == [IPAddress("10.0.0.5")])
        #expect(try Arguments(parsing: "IgnoreUnknown=true;FOO=1").addresses == [])
        #expect(try Arguments(parsing: "").addresses == [])
    }

    @Test func `one address a family may carry its prefix length`() throws {
        #expect(
            try Arguments(parsing: "IP=10.0.0.5/24,fd00::5").addresses == [IPAddress("10.0.0.5"), IPAddress("fd00::5")])
    }

    @Test(arguments: [
        "FOO=1", "IgnoreUnknown=0;FOO=1", "IP", "IP=a=b", "IP=10.0.0", "IgnoreUnknown=maybe", "IP=1.2.3.4;",
    ])
    func `what is unknown or no pair is refused`(text: String) {
        let error = #expect(throws: CNIError.self) { try Arguments(parsing: text) }
        #expect(error?.code == 4)
    }
}
