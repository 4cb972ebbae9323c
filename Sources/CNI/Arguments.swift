package import Addressing

/// CNI_ARGS: `KEY=VALUE;KEY=VALUE`, in any order.
package struct Arguments: Hashable, Sendable {
    /// `IP=`: the addresses asked for, comma-separated.
    package let addresses: [IPAddress]
    /// `K8S_POD_*`; nil when there is none of them.
    package let pod: AttachmentRecord.Pod?

    /// Names of Kubernetes are shorter; longer ones are as good as none.
    private static let nameLimit = 253

    /// An unknown key is an error unless `IgnoreUnknown=1` stands anywhere among the pairs.
    package init(parsing text: String) throws(CNIError) {
        var addresses: [IPAddress] = []
        var unknown: [String] = []
        var names: [String: String] = [:]
        var ignoresUnknown = false
        for pair in text.isEmpty ? [] : text.split(separator: ";", omittingEmptySubsequences: false) {
            let parts = pair.split(separator: "=", omittingEmptySubsequences: false)
            guard parts.count == 2 else { throw .invalidEnvironment("read CNI_ARGS: \(pair) is not KEY=VALUE") }
            switch parts[0] {
            case "IgnoreUnknown":
                guard let value = ["1": true, "true": true, "0": false, "false": false][parts[1].lowercased()] else {
                    throw .invalidEnvironment("read CNI_ARGS: IgnoreUnknown=\(parts[1]) is neither 1 nor 0")
                }
                ignoresUnknown = value
            case "IP":
                for address in parts[1].split(separator: ",") {
                    guard let prefix = IPPrefix(String(address)) else {
                        throw .invalidEnvironment("read CNI_ARGS: IP=\(address) is not an address")
                    }
                    addresses.append(prefix.address)
                }
            case "K8S_POD_NAMESPACE", "K8S_POD_NAME", "K8S_POD_UID":
                if !parts[1].isEmpty, parts[1].utf8.count <= Self.nameLimit {
                    names[String(parts[0])] = String(parts[1])
                }
            case "K8S_POD_INFRA_CONTAINER_ID": break
            default: unknown.append(String(parts[0]))
            }
        }
        guard unknown.isEmpty || ignoresUnknown else {
            throw .invalidEnvironment("read CNI_ARGS: unknown args [\(unknown.sorted().joined(separator: ","))]")
        }
        self.addresses = addresses
        pod =
            names.isEmpty
            ? nil
            : AttachmentRecord.Pod(
                namespace: names["K8S_POD_NAMESPACE"], name: names["K8S_POD_NAME"], uid: names["K8S_POD_UID"])
    }
}
