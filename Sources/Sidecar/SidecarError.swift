/// Why the sidecar stops or can't start: one line that says what to do.
package enum SidecarError: Error, CustomStringConvertible {
    case configuration(String)
    case state(String)
    case device(String)
    /// The pod has no interface that could be used: it was made without the plugin, or lost what that made. No restart in
    /// the same pod helps.
    case noInterface(String)
    case hub(String)

    package var description: String {
        switch self {
        case .configuration(let text), .state(let text), .device(let text), .noInterface(let text), .hub(let text): text
        }
    }

    /// Of the process: EX_UNAVAILABLE where only another pod helps, which a controller can see.
    package var exitStatus: Int32 { if case .noInterface = self { 69 } else { 1 } }
}
