import Addressing

/// The attachment that a node port was given to.
package struct PortHolder: Hashable, Sendable {
    package let network: String
    package let containerID: String
    package let ifName: String

    package init(network: String, containerID: String, ifName: String) {
        self.network = network
        self.containerID = containerID
        self.ifName = ifName
    }
}

/// One node port and who has it, as the store's file of that port holds it:
///
///     containerID\r\nifname\r\nnetwork\r\nADDRESS\r\nPORT
package struct PortRecord: Hashable, Sendable {
    package let port: NodePort
    package let holder: PortHolder

    package init(_ port: NodePort, _ holder: PortHolder) {
        self.port = port
        self.holder = holder
    }

    var bytes: [UInt8] {
        let lines = [holder.containerID, holder.ifName, holder.network, "\(port.pod)", "\(port.podPort)"]
        return Array(lines.joined(separator: "\r\n").utf8)
    }

    /// Nil for what was never written whole.
    init?(number: UInt16, bytes: [UInt8]) {
        let lines = String(decoding: bytes, as: UTF8.self).split(
            omittingEmptySubsequences: false, whereSeparator: \.isNewline
        ).map(String.init)
        guard lines.count == 5, let pod = IPv4Address(lines[3]), let podPort = UInt16(lines[4]), podPort > 0,
            !lines[0].isEmpty, !lines[2].isEmpty
        else { return nil }
        self.init(
            NodePort(number, pod: pod, podPort: podPort),
            PortHolder(network: lines[2], containerID: lines[0], ifName: lines[1]))
    }
}
