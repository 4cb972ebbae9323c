import Lab
import Testing

/// Real container runtimes with the plugin and the sidecar, one scenario after the other. Needs root.
@Suite(.serialized) struct Runtimes {
    static let tools = [
        ("podman", "podman"), ("containerd", "containerd"), ("ctr", "containerd"), ("runc", "runc"),
        ("conmon", "conmon"), ("catatonit", "catatonit"), ("busybox", "busybox-static"), ("iptables", "iptables"),
        ("zstd", "zstd"),
    ]

    @Test func `these tests run as root and have their tools`() {
        #expect(Requirements.missing(Requirements.tools + Self.tools) == [])
        for plugin in ["ptp", "host-local", "loopback"] {
            #expect(isExecutable("/usr/lib/cni/\(plugin)"), "`apt-get install containernetworking-plugins`")
        }
    }
}

/// A measured value, for the person who reads the run.
func figure(_ what: String, _ value: String) { print("  figure: \(what): \(value)") }

extension Double {
    /// Milliseconds of these seconds, as a person reads them.
    var milliseconds: String { "\(Int((self * 1000).rounded())) ms" }
}
