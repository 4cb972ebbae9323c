import Foundation
import Glibc
import Lab

/// What /proc says about processes (proc(5)).
enum ProcessTable {
    /// A process that `parent` has started; nil when there is none.
    static func child(of parent: Int32) -> Int32? {
        names(in: "/proc").compactMap { Int32($0) }.first { self.parent(of: $0) == parent }
    }

    private static func parent(of pid: Int32) -> Int32? {
        // The name in parentheses may hold anything: what counts comes after the last of them.
        let fields = readText("/proc/\(pid)/stat").split(separator: ")").last?.split(separator: " ")
        return fields.flatMap { $0.count > 1 ? Int32($0[1]) : nil }
    }
}

extension Node {
    /// The processes of the node, containers' too, whose program's name begins with `name`; numbered as on the node.
    func processes(_ name: String) -> [Int32] {
        let table = "\(root)/proc"
        return names(in: table).compactMap { Int32($0) }.filter { pid in
            readText("\(table)/\(pid)/comm").hasPrefix(name) && !readText("\(table)/\(pid)/cmdline").isEmpty
        }
    }

    /// Waits at most `seconds` for a process of that name, and kills it at once, whatever it is in the middle of.
    func killNext(_ name: String, within seconds: Double) -> Bool {
        let deadline = Clock.now + seconds
        let own = space(of: pid)
        while Clock.now < deadline {
            for candidate in names(in: "/proc").compactMap({ Int32($0) })
            where readText("/proc/\(candidate)/comm") == "\(name)\n" && space(of: candidate) == own {
                return kill(candidate, SIGKILL) == 0
            }
        }
        return false
    }

    /// The namespace of process ids, as the kernel names it; nil for a process that has ended.
    private func space(of process: Int32) -> String? {
        try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(process)/ns/pid")
    }

    /// SIGKILL for every process of that name; returns how many there were.
    @discardableResult
    func killAll(_ name: String) throws -> Int {
        let victims = processes(name)
        // One that has ended meanwhile is no fault.
        if !victims.isEmpty { _ = try result(of: ["kill", "-KILL"] + victims.map { "\($0)" }) }
        return victims.count
    }
}
