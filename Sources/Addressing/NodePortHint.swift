/// What the CNI plugin tells the processes of a pod of its node port, as the alias of the mesh's interface:
///
///     warren node-port 31007 udp 51820
///
/// Everybody in the pod can read it, and only who may administrate its network can change it. It is a hint: whether
/// packets really take that way is for STUN to say.
package struct NodePortHint: Hashable, Sendable {
    /// The node's port.
    package let nodePort: UInt16
    /// The pod's UDP port that it leads to, and that leaves the node as it.
    package let podPort: UInt16

    package init(nodePort: UInt16, podPort: UInt16) {
        self.nodePort = nodePort
        self.podPort = podPort
    }
}

extension NodePortHint: CustomStringConvertible, LosslessStringConvertible {
    package var description: String { "warren node-port \(nodePort) udp \(podPort)" }

    /// Nil for another alias.
    package init?(_ alias: String) {
        let words = alias.split(separator: " ")
        guard words.count == 5, words[0] == "warren", words[1] == "node-port", words[3] == "udp",
            let nodePort = UInt16(words[2]), let podPort = UInt16(words[4]), nodePort > 0, podPort > 0
        else { return nil }
        self.init(nodePort: nodePort, podPort: podPort)
    }
}
