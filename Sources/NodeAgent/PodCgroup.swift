/// Where kubelet puts a pod's processes: the control group's path has the pod's uid in it.
///
///     cgroupfs   /kubepods/burstable/pod4a1e…-…/CONTAINER
///     systemd    /kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod4a1e…_….slice/cri-containerd-….scope
///
/// A guaranteed pod has no quality of service in between. A process without privilege can't leave its group.
enum PodCgroup {
    /// True when a hierarchy of `/proc/PID/cgroup` places the process in the pod, and none places it in another.
    static func places(_ text: String, inPod uid: String) -> Bool {
        let pods = text.split(separator: "\n").flatMap { line in
            // `ID:CONTROLLERS:PATH`, and the path may have colons.
            line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false).dropFirst(2)
                .flatMap { $0.split(separator: "/") }.compactMap(podUid)
        }
        return !pods.isEmpty && pods.allSatisfy { $0 == uid.lowercased() }
    }

    /// The uid that one part of a path names; nil when it names none.
    private static func podUid(_ part: Substring) -> String? {
        var part = part
        if part.hasSuffix(".slice") {
            guard part.hasPrefix("kubepods"), let start = part.range(of: "-pod")?.upperBound else { return nil }
            part = part[start...].dropLast(6)
        } else {
            guard part.hasPrefix("pod") else { return nil }
            part = part.dropFirst(3)
        }
        let uid = String(part.map { $0 == "_" ? "-" : $0 }).lowercased()
        let isUid =
            !uid.isEmpty
            && uid.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) || $0 == 0x2d }
        return isUid ? uid : nil
    }
}

extension Substring {
    /// Where `text` stands first.
    fileprivate func range(of text: String) -> Range<Index>? { ranges(of: text).first }
}
