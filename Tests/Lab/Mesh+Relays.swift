import Glibc

extension Mesh {
    /// Starts authority and directory in one hub, and beside it a hub for each of `Plan.relays` that is a relay alone.
    ///
    /// Only in a far underlay: the second relay has an address of its own there.
    package func startHubWithRelays(stunServers: [String] = []) throws {
        try makeHub(stunServers: stunServers)
        let facts = try hubFacts(["advertise", "--dir", hubFolder])
        guard let key = facts["authority key"] else { throw LabError.unexpected("advertise printed \(facts)") }
        var words = ["advertise", "--dir", hubFolder]
        for (index, relay) in Plan.relays.enumerated() {
            let folder = relayFolder(index)
            try makeFolder(folder, mode: 0o700, owner: Plan.hubUID)
            let facts = try hubFacts([
                "init", "--dir", folder, "--mesh", Plan.meshName, "--prefix", Plan.meshPrefix, "--ipv4-range",
                Plan.meshIPv4, "--address", relayControl(index), "--authority-key", key, "--relay", "\(relay):3478",
            ])
            guard let id = facts["relay id"], let pin = facts["TLS pin"] else {
                throw LabError.unexpected("init printed \(facts)")
            }
            words += ["--relay", "\(id)@\(relay):3478,\(relayControl(index)),\(pin)"]
        }
        try hubCommand(words)
        try startRelays()
        hub = try serveHub(
            hubFolder, uid: Plan.hubUID, control: hubControl, options: ["--roles", "authority,directory"])
    }

    /// Starts the relays that do not run.
    package func startRelays() throws {
        for (index, relay) in Plan.relays.enumerated() where relays[index]?.isRunning != true {
            relays[index] = try serveHub(
                relayFolder(index), uid: Plan.hubUID, control: relayControl(index), relayListen: "\(relay):3478",
                options: ["--roles", "relay"])
        }
    }

    /// SIGKILL to one of them.
    package func killRelay(_ index: Int) throws {
        guard let process = relays.removeValue(forKey: index) else {
            throw LabError.unexpected("no relay \(index) runs")
        }
        process.signal(SIGKILL)
        _ = try process.wait(timeout: 5)
    }

    private func relayFolder(_ index: Int) -> String { "\(sandbox.folder)/relay-\(index)" }
    private func relayControl(_ index: Int) -> String { "\(Plan.relays[index]):\(7450 + index)" }

    /// What a command of the hub printed, line by line: all but the last word, and the last word.
    func hubFacts(_ words: [String], uid: UInt32 = Plan.hubUID) throws -> [String: String] {
        try hubCommand(words, uid: uid).split(separator: "\n").reduce(into: [:]) { facts, line in
            let words = line.split(separator: " ")
            guard let value = words.last else { return }
            facts[words.dropLast().joined(separator: " ")] = String(value)
        }
    }
}
