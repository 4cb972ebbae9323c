/// What an IPv6 address is made from: the pod where the runtime tells which, so that it keeps its address when its
/// sandbox is made anew, else the container.
///
/// Names need not be secret nor well spread: the hash spreads them, and the store finds collisions.
package struct AddressIdentity: Hashable, Sendable {
    package let network: String
    private let parts: [String]

    package init(network: String, containerID: String, pod: AttachmentRecord.Pod? = nil) {
        self.network = network
        if let pod, let uid = pod.uid {
            parts = ["pod", pod.namespace ?? "", uid]
        } else {
            parts = [containerID]
        }
    }

    /// 64 bits that are the same for the same identity and attempt: FNV-1a (Fowler, Noll, Vo: offset basis
    /// 0xcbf29ce484222325, prime 0x100000001b3) over
    ///
    ///     network name | 0 | container id                       | 0 | attempt in decimal
    ///     network name | 0 | "pod" | 0 | namespace | 0 | pod uid | 0 | attempt in decimal
    ///
    /// It need not resist attack: nothing trusts an address for how it was made. Never 0, which is the subnet's router
    /// anycast address (RFC 4291 2.6.1).
    package func interfaceIdentifier(attempt: Int) -> UInt64 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for part in [network] + parts {
            for byte in part.utf8 { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3 }
            hash = hash &* 0x0000_0100_0000_01b3  // the separator, 0
        }
        for byte in "\(attempt)".utf8 { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3 }
        return hash == 0 ? 1 : hash
    }
}
