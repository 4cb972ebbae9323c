import CNI
import Glibc
import Linux
import Netlink
import TestSupport

/// A container runtime as the plugin sees one: environment and stdin in, JSON out. Its store and namespaces are the
/// test's own and go away with it.
final class Runtime: Sendable {
    let folder: ScratchFolder
    /// The pod's namespace; others can be made for other pods.
    let pod: ScratchNamespace

    init() throws {
        pod = try ScratchNamespace()
        folder = try ScratchFolder()
    }

    struct Answer {
        let status: Int32
        let output: String
        let diagnostics: String

        /// The whole answer as JSON; nil for anything else.
        var json: JSONValue? { try? JSONValue(parsing: Array(output.utf8)) }
        var code: Int64? { json?["code"]?.integer }
        var message: String { json?["msg"]?.text ?? "no message" }
        /// `addresses` of the result as text.
        var addresses: [String] { json?["ips"]?.elements?.compactMap { $0["address"]?.text } ?? [] }
    }

    /// A configuration with everything ADD needs; `more` is further members, each after a comma.
    func configuration(
        _ version: String = "1.0.0", range: String? = "10.9.7.0/24", _ more: String = ""
    ) -> String {
        let ipv4 = range.map { #""ipv4Range":"\#($0)","# } ?? ""
        return #"{"cniVersion":"\#(version)","name":"mesh","type":"warren-cni","mesh":"fd00:9::/48","node":7,"#
            + #"\#(ipv4)"ownerUid":64738,"dataDir":"\#(folder.path)"\#(more.isEmpty ? "" : ",\(more)")}"#
    }

    static func configuration(_ text: String, previous: String) -> String {
        "\(text.dropLast()),\"prevResult\":\(previous)}"
    }

    func environment(
        _ command: String, container: String = "abc", netns: String? = nil, ifName: String = "eth0"
    ) -> [String: String] {
        [
            "CNI_COMMAND": command, "CNI_CONTAINERID": container, "CNI_NETNS": netns ?? pod.path,
            "CNI_IFNAME": ifName, "CNI_PATH": "/opt/cni/bin",
            "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=a;K8S_POD_UID=1",
            "HTTPS_PROXY": "http://192.0.2.1:3128",
        ]
    }

    /// - Parameter through: a program and its arguments that start the plugin, if it is not started by itself.
    func start(
        _ environment: [String: String], _ input: String, stdin: Int32? = nil, stdout: String? = nil,
        through wrapper: [String] = []
    ) throws -> ChildProcess {
        let words = wrapper + [try Self.programs() + "/warren-cni"]
        return try ChildProcess(
            words[0], Array(words.dropFirst()), environment: environment, input: input, stdin: stdin, stdout: stdout)
    }

    func call(_ environment: [String: String], _ input: String) throws -> Answer {
        let outcome = try start(environment, input).wait()
        return Answer(status: outcome.status, output: outcome.output, diagnostics: outcome.diagnostics)
    }

    func call(_ command: String, container: String = "abc", _ input: String) throws -> Answer {
        try call(environment(command, container: container), input)
    }

    /// The network's reservations. A writer's temporary file, which the next one replaces, is none.
    var records: [String] {
        folder.names("networks/mesh").filter { $0 != "lock" && !$0.hasPrefix("last_") && !$0.hasPrefix(".") }
    }

    /// The attachments on record.
    var attachments: [String] { folder.names("attachments/mesh").filter { !$0.hasPrefix(".") } }

    func link(_ name: String = "warren0") throws -> Link? { try pod.link(name) }

    /// Runs `ip` in the pod.
    func ip(_ arguments: String) throws {
        let words = arguments.split(separator: " ").map(String.init)
        let outcome = try ChildProcess(
            "/usr/bin/nsenter", ["--net=\(pod.path)", "ip"] + words,
            environment: ["PATH": "/usr/sbin:/usr/bin:/sbin:/bin"]
        ).wait()
        guard outcome.status == 0 else {
            throw ChildProcess.Failure(description: "ip \(arguments): \(outcome.diagnostics)")
        }
    }

    /// A veth `name` in the pod, as a primary plugin leaves it, with its other end in `host`.
    func addPrimary(_ name: String = "eth0", mtu: UInt32, host: ScratchNamespace) throws {
        let pod = pod
        try host.run {
            var socket = try RouteSocket()
            try socket.createVeth("h0", peer: name, in: pod.namespace, mtu: mtu)
        }
    }

    /// Where the build put the programs: beside the test bundle, or WARREN_BIN_DIR.
    private static func programs() throws -> String {
        if let folder = unsafe getenv("WARREN_BIN_DIR") { return unsafe String(cString: folder) }
        var bytes = [UInt8](repeating: 0, count: 4096)
        let length = unsafe bytes.withUnsafeMutableBytes {
            unsafe readlink("/proc/self/exe", $0.baseAddress!.assumingMemoryBound(to: CChar.self), $0.count)
        }
        let path = String(decoding: bytes.prefix(max(length, 0)), as: UTF8.self)
        let folder = path.split(separator: "/").dropLast().map { "/\($0)" }.joined()
        guard unsafe access(folder + "/warren-cni", X_OK) == 0 else {
            throw ChildProcess.Failure(description: "no warren-cni in \(folder): build it, or set WARREN_BIN_DIR")
        }
        return folder
    }
}
