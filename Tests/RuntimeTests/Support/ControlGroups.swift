import Glibc
import Lab

/// The control groups that runtimes make for a node's containers, in every hierarchy (cgroups(7)): what is told of a
/// parent goes below one of the node's name; podman's pods go below its own.
struct ControlGroups: Sendable {
    private static let mountPoint = "/sys/fs/cgroup"
    private static let podman = "libpod_parent"
    private let name: String
    private let before: Set<String>

    init(named name: String) {
        self.name = name
        before = Set(Self.folders(named: Self.podman))
    }

    /// Removes those of the node that hold no process, and returns those that could not be removed.
    func remove() -> [String] {
        let deadline = Clock.now + 5
        while true {
            let left = Self.folders(named: name) + Self.folders(named: Self.podman).filter { !before.contains($0) }
            // The deepest first.
            for folder in left.sorted(by: { $0.utf8.count > $1.utf8.count }) { unsafe rmdir(folder) }
            let remaining = left.filter { fileExists($0) }
            if remaining.isEmpty || Clock.now > deadline { return remaining.map { "control group \($0)" } }
            usleep(20_000)
        }
    }

    /// Where a container's group is in the device controller's hierarchy; nil where that is no file system of its own,
    /// as with version 2, which filters devices by a program.
    static func devices(parent: String, container: String) -> String? {
        let folder = "\(mountPoint)/devices/\(parent)/\(container)"
        return fileExists("\(folder)/devices.deny") ? folder : nil
    }

    static var hasDeviceController: Bool { fileExists("\(mountPoint)/devices/devices.deny") }

    /// The groups of that name at the top of every hierarchy, and all below them.
    private static func folders(named name: String) -> [String] {
        let tops = [mountPoint] + names(in: mountPoint).map { "\(mountPoint)/\($0)" }
        return tops.map { "\($0)/\(name)" }.flatMap(tree)
    }

    private static func tree(_ folder: String) -> [String] {
        guard isFolder(folder) else { return [] }
        return [folder] + names(in: folder).flatMap { tree("\(folder)/\($0)") }
    }
}
