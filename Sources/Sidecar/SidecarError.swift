/// Why the sidecar stops or can't start: one line that says what to do.
package enum SidecarError: Error, CustomStringConvertible {
    case configuration(String)
    case state(String)
    case device(String)
    case hub(String)

    package var description: String {
        switch self {
        case .configuration(let text), .state(let text), .device(let text), .hub(let text): text
        }
    }
}
