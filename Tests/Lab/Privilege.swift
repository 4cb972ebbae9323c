/// What the kernel says about a process's privilege (proc_pid_status(5)).
package struct Privilege: Equatable, Sendable, CustomStringConvertible {
    package let uid: Int
    /// Effective, permitted, inheritable, bounding and ambient capabilities, all of them.
    package let capabilities: UInt64
    package let noNewPrivileges: Bool
    package let seccomp: Int

    /// Reads `/proc/PID/status`.
    package init(of pid: Int32) throws(LabError) {
        let text = readText("/proc/\(pid)/status")
        let lines = text.split(separator: "\n").map {
            $0.split(whereSeparator: { " \t:".contains($0) }).map(String.init)
        }
        guard !lines.isEmpty else { throw .unexpected("no process \(pid)") }
        func value(_ name: String) -> [String] { lines.first { $0.first == name }.map { Array($0.dropFirst()) } ?? [] }
        let sets = ["CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"].map {
            value($0).first.flatMap { UInt64($0, radix: 16) }
        }
        guard let uid = value("Uid").dropFirst().first.flatMap({ Int($0) }), !sets.contains(nil) else {
            throw .unexpected("cannot read /proc/\(pid)/status")
        }
        self.uid = uid
        capabilities = sets.reduce(0) { $0 | ($1 ?? 0) }
        noNewPrivileges = value("NoNewPrivs").first == "1"
        seccomp = value("Seccomp").first.flatMap { Int($0) } ?? 0
    }

    /// A reserved uid, no capability in any set, and no way to gain one.
    package var isNone: Bool { uid != 0 && capabilities == 0 && noNewPrivileges }

    package var description: String {
        "uid \(uid), CapEff \(String(capabilities, radix: 16)), NoNewPrivs \(noNewPrivileges ? 1 : 0)"
    }
}
