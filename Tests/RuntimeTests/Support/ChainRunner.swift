import Foundation
import Glibc
import Lab
import Synchronization

/// Runs a conflist's plugins as libcni 1.2 does (CNI specification 1.1.0, section 3): what no packaged runtime calls —
/// STATUS, GC, CHECK and version 1.1.0 — and everything else, one process a plugin. Any thread.
final class ChainRunner: Sendable {
    /// A plugin answered with the specification's error object, or with nothing that can be read.
    struct Failure: Error, CustomStringConvertible {
        let plugin: String
        let verb: String
        let status: Int32
        let code: Int
        let text: String
        var description: String { "\(plugin) \(verb): status \(status), code \(code), \(text)" }
    }

    /// A container's interface on the network.
    struct Attachment: Hashable, Sendable {
        let container: String
        let netns: String
        let ifName = "eth0"

        init(_ container: String, netns: String) {
            self.container = container
            self.netns = netns
        }
    }

    /// The version spoken: the highest of the list's that this runner knows.
    let version: String
    let network: String
    private let plugins: [Plugin]
    private let folders: String
    private let sandbox: Sandbox
    /// What puts the plugins into the runtime's own network namespace; they must keep the process id.
    private let enter: [String]
    /// The last result of each attachment, which libcni keeps in files.
    private let cache = Mutex<[Attachment: String]>([:])

    private struct Plugin: Sendable {
        let type: String
        let path: String
        let text: String

        var isOurs: Bool { type == "warren-cni" }
    }

    private static let versions = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]

    /// - Parameters:
    ///   - conflist: with `cniVersion`, perhaps `cniVersions`, `name` and `plugins`.
    ///   - folders: where plugins are looked for, as CNI_PATH.
    ///   - root: where `enter` leads to, as this process reaches it.
    init(_ conflist: [String: Any], folders: [String], sandbox: Sandbox, enter: [String], root: String = "") throws {
        let offered = (conflist["cniVersions"] as? [String] ?? []) + [conflist["cniVersion"] as? String ?? ""]
        guard let version = Self.versions.last(where: { offered.contains($0) }), let name = conflist["name"] as? String
        else { throw LabError.unexpected("a conflist without a name or a known version") }
        self.version = version
        network = name
        self.folders = folders.joined(separator: ":")
        self.sandbox = sandbox
        self.enter = enter
        plugins = try (conflist["plugins"] as? [[String: Any]] ?? []).map { configuration in
            let type = configuration["type"] as? String ?? ""
            guard let path = folders.map({ "\($0)/\(type)" }).first(where: { isExecutable(root + $0) }) else {
                throw LabError.missing("no plugin \(type) in \(folders)")
            }
            let data = try JSONSerialization.data(withJSONObject: configuration)
            return Plugin(type: type, path: path, text: String(decoding: data, as: UTF8.self))
        }
    }

    // MARK: - The verbs

    /// ADD in order; each plugin gets the result of the one before. Returns the last result.
    ///
    /// - Parameter killing: how long our plugin may run before it is killed; nil leaves it alone.
    func add(_ attachment: Attachment, killing: Double? = nil) throws -> [String: Any] {
        var result: [String: Any]?
        for plugin in plugins {
            result = try execute(
                plugin, "ADD", attachment, ["prevResult": result], killing: plugin.isOurs ? killing : nil)
        }
        let last = result ?? [:]
        let data = try JSONSerialization.data(withJSONObject: last)
        cache.withLock { $0[attachment] = String(decoding: data, as: UTF8.self) }
        return last
    }

    /// DEL in reverse order; the first error ends it, and the result is kept for the next try.
    func delete(_ attachment: Attachment, killing: Double? = nil, withoutNamespace: Bool = false) throws {
        let previous = try cached(attachment)
        for plugin in plugins.reversed() {
            try execute(
                plugin, "DEL", attachment, ["prevResult": previous], killing: plugin.isOurs ? killing : nil,
                withoutNamespace: withoutNamespace)
        }
        cache.withLock { $0[attachment] = nil }
    }

    func check(_ attachment: Attachment) throws {
        let previous = try cached(attachment)
        for plugin in plugins { try execute(plugin, "CHECK", attachment, ["prevResult": previous]) }
    }

    /// GC: DEL for what is remembered and not valid, then GC of every plugin, whatever fails on the way. Returns the
    /// failures.
    func collectGarbage(valid: [Attachment]) -> [any Error] {
        var faults: [any Error] = []
        for stale in cache.withLock({ Array($0.keys) }) where !valid.contains(stale) {
            do { try delete(stale, withoutNamespace: !fileExists(stale.netns)) } catch { faults.append(error) }
        }
        let list = valid.map { ["containerID": $0.container, "ifname": $0.ifName] }
        for plugin in plugins where version == "1.1.0" {
            do {
                // The first text of 1.1.0 had the second name; libcni sends both.
                try execute(plugin, "GC", nil, ["cni.dev/valid-attachments": list, "cni.dev/attachments": list])
            } catch { faults.append(error) }
        }
        return faults
    }

    func status() throws {
        for plugin in plugins { try execute(plugin, "STATUS", nil, [:]) }
    }

    private func cached(_ attachment: Attachment) throws -> [String: Any]? {
        guard let text = cache.withLock({ $0[attachment] }) else { return nil }
        return try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any]
    }

    // MARK: - One call

    @discardableResult
    private func execute(
        _ plugin: Plugin, _ verb: String, _ attachment: Attachment?, _ keys: [String: Any?], killing: Double? = nil,
        withoutNamespace: Bool = false
    ) throws -> [String: Any] {
        guard var configuration = try JSONSerialization.jsonObject(with: Data(plugin.text.utf8)) as? [String: Any]
        else {
            throw LabError.unexpected("plugin configuration")
        }
        configuration["capabilities"] = nil
        configuration["cniVersion"] = version
        configuration["name"] = network
        for (key, value) in keys { if let value { configuration[key] = value } }
        var environment = ["CNI_COMMAND": verb, "CNI_PATH": folders]
        if let attachment {
            environment["CNI_CONTAINERID"] = attachment.container
            environment["CNI_NETNS"] = withoutNamespace ? "" : attachment.netns
            environment["CNI_IFNAME"] = attachment.ifName
            environment["CNI_ARGS"] =
                "K8S_POD_NAME=\(attachment.container);IgnoreUnknown=1;K8S_POD_NAMESPACE=default;"
                + "K8S_POD_UID=uid-\(attachment.container);K8S_POD_INFRA_CONTAINER_ID=\(attachment.container)"
        }
        let input = try JSONSerialization.data(withJSONObject: configuration)
        let process = try sandbox.spawn(
            enter + [plugin.path], environment: environment, input: String(decoding: input, as: UTF8.self))
        defer {
            removeFile(process.outputPath)
            removeFile(process.errorPath)
        }
        if let killing {
            usleep(UInt32(killing * 1e6))
            process.signal(SIGKILL)
        }
        let status = try process.wait(timeout: 60)
        let answer = try? JSONSerialization.jsonObject(with: Data(process.standardOutput.utf8)) as? [String: Any]
        guard status == 0 else {
            throw Failure(
                plugin: plugin.type, verb: verb, status: status, code: answer?["code"] as? Int ?? 999,
                text: answer?["msg"] as? String ?? process.standardOutput + process.standardError)
        }
        if verb == "ADD" && answer == nil {
            throw Failure(
                plugin: plugin.type, verb: verb, status: 0, code: 6, text: "no result: \(process.standardOutput)")
        }
        return answer ?? [:]
    }
}

extension ChainRunner {
    /// The gateway that the primary plugin gave: an address of the node.
    static func gateway(of result: [String: Any]) -> String? {
        (result["ips"] as? [[String: Any]] ?? []).compactMap { $0["gateway"] as? String }.first
    }

    /// The addresses of a result's interface `name`, without their prefix lengths.
    static func addresses(of result: [String: Any], on name: String) -> [String] {
        let interfaces = result["interfaces"] as? [[String: Any]] ?? []
        let index = interfaces.firstIndex { $0["name"] as? String == name }
        let all = (result["ips"] as? [[String: Any]] ?? []).filter { $0["interface"] as? Int == index && index != nil }
        return all.compactMap { ($0["address"] as? String)?.split(separator: "/").first.map(String.init) }
    }
}
