import Addressing

/// The verbs of CNI 1.1.0 that are about the network as a whole.
package struct Network: Sendable {
    package let conf: NetConf

    package init(_ conf: NetConf) { self.conf = conf }

    /// GC: frees the addresses of attachments that the runtime does not list. An absent list frees nothing.
    ///
    /// Interfaces are not touched: they went with their namespaces.
    package func collectGarbage() throws(CNIError) {
        guard let valid = conf.validAttachments, let store = try Store(existing: conf.storePath()) else { return }
        let holders = Set(valid.map { Store.Holder(containerID: $0.containerID, ifName: $0.ifname) })
        try store.removeLeftovers()
        var firstFault: CNIError?
        for address in try store.taken() {
            if let holder = store.holder(of: address), holders.contains(holder) { continue }
            do throws(CNIError) { try store.remove(address) } catch { firstFault = firstFault ?? error }
        }
        if let firstFault { throw firstFault }
    }

    /// STATUS: whether an ADD could succeed now.
    package func status() throws(CNIError) {
        let settings = try Settings(conf)
        do throws(CNIError) {
            let store = try Store(creating: settings.storePath)
            try store.probe()
            guard let range = settings.plan.range else { return }
            let taken = try store.taken()
            guard range.roundRobin(after: nil).contains(where: { !taken.contains(.v4($0)) }) else {
                throw .rangeExhausted("reserve an address of \(range) in \(settings.network): all are taken")
            }
        } catch {
            throw .notAvailable(error.message)
        }
    }
}
