/// Who takes our entry out of a configuration, as far as its contents tell.
enum Rivalry {
    /// - Parameters:
    ///   - types: the plugins of the list.
    ///   - names: what else is in the folder.
    static func cause(types: [String], names: [String]) -> String {
        if types.contains("cilium-cni") || names.contains(where: { $0.hasSuffix(".cilium_bak") }) {
            return "Cilium keeps the folder to itself; set cni.exclusive=false in its Helm values"
        }
        if types.contains(where: { $0.hasPrefix("multus") }) {
            return "Multus makes this file from another one; name that one with --cni-conf-name"
        }
        if types.contains("calico") { return "calico-node writes it anew; look at its install-cni container" }
        if types.contains("istio-cni") || types.contains("linkerd-cni") {
            return "another chained plugin's installer writes it from a copy of its own; restart that installer"
        }
        return "another agent on this node writes it; find it with `fatrace` or `auditctl -w` on the file"
    }
}
