/// An IPAM plugin of another make, called as the specification says ("Section 4: Plugin Delegation"): found in
/// CNI_PATH, with our environment and configuration.
package struct DelegatedIPAM: Sendable {
    private let type: String
    private let invocation: Invocation
    private let conf: NetConf

    package init(type: String, _ invocation: Invocation, _ conf: NetConf) {
        self.type = type
        self.invocation = invocation
        self.conf = conf
    }

    /// What it gave: addresses with the prefix lengths it chose, routes and what it said of DNS.
    package func add() throws(CNIError) -> Result {
        do throws(CNIError) {
            let output = try call(.add)
            let result: Result
            do throws(CNIError) { result = try Result(previous: JSONValue(parsing: output)) } catch {
                throw .delegation("read result of \(type) ADD: \(error.message)")
            }
            guard !result.addresses.isEmpty else { throw .delegation("read result of \(type) ADD: no address") }
            return result
        } catch {
            // It may have failed after it reserved.
            _ = try? call(.delete)
            throw error
        }
    }

    package func delete() throws(CNIError) { _ = try call(.delete) }

    package func check() throws(CNIError) { _ = try call(.check) }

    /// GC and STATUS, which came with 1.1.0: a plugin that has no such command is left out.
    package func callIfKnown(_ command: Command) throws(CNIError) {
        do throws(CNIError) { _ = try call(command) } catch {
            if case .delegated(4, _, _) = error { return }
            throw error
        }
    }

    private func call(_ command: Command) throws(CNIError) -> [UInt8] {
        var environment = invocation.environment
        environment["CNI_COMMAND"] = command.rawValue
        let process = try PluginProcess(type: type, folders: invocation.pluginFolders)
        let outcome = try process.run(environment: environment, input: conf.text)
        if outcome.status == 0 { return outcome.output }
        let subject = "\(type) \(command.rawValue)"
        guard let json = try? JSONValue(parsing: outcome.output), let code = json["code"]?.integer else {
            let end = outcome.status < 0 ? "signal \(-outcome.status)" : "status \(outcome.status)"
            throw .delegation("\(subject): ended with \(end) and no error object")
        }
        throw .delegated(
            code: Int(clamping: code), message: "\(subject): \(json["msg"]?.text ?? "no message")",
            details: json["details"]?.text ?? "")
    }
}

extension NetConf {
    /// The plugin that `ipam` names; nil when the addresses are ours to give.
    package func delegatedType() throws(CNIError) -> String? {
        guard let ipam, ipam != .object([:]) else { return nil }
        guard let type = ipam["type"]?.text, !type.isEmpty else {
            throw .invalidConfiguration("read ipam.type: missing")
        }
        guard Invocation.isIdentifier(type) else {
            throw .invalidConfiguration("read ipam.type \(type): not a plugin's name")
        }
        return type == "warren-cni" ? nil : type
    }
}
