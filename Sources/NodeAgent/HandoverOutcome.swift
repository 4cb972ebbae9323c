/// What became of one question for a TUN descriptor: a metric's label.
package enum HandoverOutcome: String, CaseIterable, Sendable {
    case granted
    /// The asker's uid is not the interface's owner.
    case uid
    /// The asker's cgroup is not the pod's.
    case cgroup
    /// The asker is in another network namespace.
    case namespace
    /// The asker ended, or is in a pid namespace that the agent does not see.
    case process
    /// There is no such interface, or it is not the one that the plugin made.
    case interface
    /// Another process is attached to the interface.
    case held
    /// Too many questions from this pod.
    case rate
    case failed
}
