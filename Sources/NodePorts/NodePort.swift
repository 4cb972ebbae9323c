package import Addressing

/// A UDP port of the node that is a pod's, in both directions: what the pod sends from `podPort` leaves the node from
/// `number`, to whichever destination, and what reaches the node there is the pod's, whoever sends it.
package struct NodePort: Hashable, Sendable {
    package let number: UInt16
    package let pod: IPv4Address
    package let podPort: UInt16

    package init(_ number: UInt16, pod: IPv4Address, podPort: UInt16) {
        self.number = number
        self.pod = pod
        self.podPort = podPort
    }
}

extension NodePort: CustomStringConvertible {
    package var description: String { "\(number) of \(pod):\(podPort)" }
}
