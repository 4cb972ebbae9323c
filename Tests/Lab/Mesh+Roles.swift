import Glibc

/// A part of the hub that may run as a process, folder and uid of its own.
package enum HubRole: String, CaseIterable, Sendable {
    case authority, directory, relay

    private var index: Int { Self.allCases.firstIndex(of: self) ?? 0 }
    /// Its TLS address: for agents, and for health.
    package var control: String { "\(Plan.hub):\(7443 + index)" }
    package var uid: UInt32 { Plan.hubUID + UInt32(index) }
}

extension Mesh {
    package func folder(of role: HubRole) -> String { "\(sandbox.folder)/hub-\(role)" }

    /// Makes and starts a hub for each role: each with its own folder, uid and ports, and only public facts of the others.
    package func startHubs() throws {
        let authority = try makeHub(.authority)
        guard let key = authority["authority key"] else { throw LabError.unexpected("no authority key: \(authority)") }
        let directory = try makeHub(.directory, "--authority-key", key)
        let relay = try makeHub(.relay, "--authority-key", key, "--relay", Plan.hubRelay)
        guard let pin = directory["TLS pin"], let id = relay["relay id"] else {
            throw LabError.unexpected("init printed \(directory), \(relay)")
        }
        hubFolder = folder(of: .authority)
        try hubCommand([
            "advertise", "--dir", hubFolder, "--directory", HubRole.directory.control, "--directory-pin", pin,
            "--relay", "\(id)@\(Plan.hubRelay)",
        ])
        for role in HubRole.allCases { try startHub(role) }
    }

    /// Starts the hub of one role; returns when it answers health.
    package func startHub(_ role: HubRole) throws {
        roleHubs[role] = try serveHub(
            folder(of: role), uid: role.uid, control: role.control, options: ["--roles", role.rawValue])
    }

    /// SIGKILL to the hub of one role.
    package func killHub(_ role: HubRole) throws {
        guard let process = roleHubs.removeValue(forKey: role) else { throw LabError.unexpected("no \(role) runs") }
        process.signal(SIGKILL)
        _ = try process.wait(timeout: 5)
    }

    /// Runs `warren-hub init`, and returns the public facts that it prints.
    private func makeHub(_ role: HubRole, _ options: String...) throws -> [String: String] {
        let folder = folder(of: role)
        try makeFolder(folder, mode: 0o700, owner: role.uid)
        let words = [
            "init", "--dir", folder, "--mesh", Plan.meshName, "--prefix", Plan.meshPrefix, "--ipv4-range",
            Plan.meshIPv4, "--address", role.control,
        ]
        return try hubFacts(words + options, uid: role.uid)
    }
}
