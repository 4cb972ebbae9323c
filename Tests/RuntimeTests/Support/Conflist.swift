import Foundation
import Lab

/// The node's network configuration: ptp with host-local as the primary plugin, ours after it.
struct Conflist {
    static let networkName = "warren"
    static let store = "/run/warren/cni"
    static let primaryStore = "\(Node.folder)/host-local"
    /// Where `witness` writes what it is called with.
    static let witnessLog = "\(Node.folder)/witness.log"

    var plugins: [[String: Any]]

    /// - Parameter witness: a last plugin that writes down its calls, and fails at the verb named.
    init(witness: Bool = false, failingAt verb: String? = nil) {
        plugins = [Self.primary(dataDir: Self.primaryStore), Self.ours(dataDir: Self.store)]
        if witness {
            var last: [String: Any] = ["type": "witness", "log": Self.witnessLog]
            last["fail"] = verb
            plugins.append(last)
        }
    }

    /// Before a node's agent has put our entry in.
    static var primaryAlone: Conflist {
        var conflist = Conflist()
        conflist.plugins = [Self.primary(dataDir: primaryStore)]
        return conflist
    }

    var text: String {
        get throws {
            let list: [String: Any] = [
                "cniVersion": "1.0.0", "cniVersions": ["0.4.0", "1.0.0"], "name": Self.networkName, "plugins": plugins,
            ]
            return String(decoding: try JSONSerialization.data(withJSONObject: list), as: UTF8.self)
        }
    }

    /// - Parameter masquerades: with it ptp leaves rules behind when the pod's namespace goes before DEL.
    static func primary(dataDir: String, masquerades: Bool = true) -> [String: Any] {
        [
            "type": "ptp", "ipMasq": masquerades,
            "ipam": [
                "type": "host-local", "dataDir": dataDir, "ranges": [[["subnet": "10.77.0.0/16"]]],
                "routes": [["dst": "0.0.0.0/0"]],
            ] as [String: Any],
        ]
    }

    static func ours(dataDir: String) -> [String: Any] {
        [
            "type": "warren-cni", "mesh": Plan.meshPrefix, "node": 1, "ipv4Range": Plan.meshIPv4,
            "ownerUid": Int(Plan.sidecarUID), "interface": Plan.interface, "dataDir": dataDir,
        ]
    }
}
