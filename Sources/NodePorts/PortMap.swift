package import Addressing
import Glibc
import Linux
import Netlink

/// The node ports of pods: given out, kept in a store, and mapped by the kernel of the calling thread's network
/// namespace, which is the node's. Safe to be used by several processes at once.
package struct PortMap: Sendable {
    /// The store's folder, best on tmpfs: its records mean nothing after a reboot.
    package let folder: String

    package init(folder: String) { self.folder = folder }

    /// Gives the pod a port of the node and maps it. All or nothing.
    ///
    /// A crash at any point leaves at most a record, which `release` or `collectGarbage` finds.
    package func assign(
        to pod: IPv4Address, holder: PortHolder, plan: PortPlan
    ) throws(NodePortError) -> NodePort {
        let store = try PortStore(creating: folder)
        let port = try reserve(pod, holder, plan, in: store)
        do throws(NodePortError) {
            try map(port, plan, in: store)
        } catch {
            try? store.remove(port.number)
            throw error
        }
        return port
    }

    /// Takes the holder's port away from kernel and store; returns it, or nil when it had none. What conntrack has of it is
    /// then for `StaleFlows` to make it forget.
    ///
    /// - Parameter number: the port, where the caller knows it; else all records are looked through.
    @discardableResult
    package func release(
        _ holder: PortHolder, number: UInt16? = nil, beforeClosing last: (Int32) -> Void = { _ in }
    ) throws(NodePortError) -> NodePort? {
        guard let store = try PortStore(existing: folder) else { return nil }
        if let number, let record = store.record(of: number), record.holder == holder {
            try remove(record.port, from: store, beforeClosing: last)
            return record.port
        }
        var released: NodePort?
        for record in try store.records() where record.holder == holder {
            try remove(record.port, from: store, beforeClosing: last)
            released = record.port
        }
        return released
    }

    /// Frees the ports of a network's attachments that are not in `holders`, and the unreadable records of a crash.
    /// What is left is mapped as the plan says, also where somebody has emptied the kernel's rules.
    ///
    /// - Returns: the ports that were freed.
    @discardableResult
    package func collectGarbage(
        in network: String, keeping holders: Set<PortHolder>, plan: PortPlan?
    ) throws(NodePortError) -> [NodePort] {
        guard let store = try PortStore(existing: folder) else { return [] }
        var freed: [NodePort] = []
        let numbers = try store.taken()
        guard !numbers.isEmpty else { return [] }
        for number in numbers.sorted() {
            guard let record = store.record(of: number) else {
                try store.remove(number)
                continue
            }
            guard record.holder.network == network, !holders.contains(record.holder) else { continue }
            try remove(record.port, from: store)
            freed.append(record.port)
        }
        if let plan { try install(plan, in: store) }
        return freed
    }

    /// Maps again what the store has: for a node's agent, after somebody emptied the kernel's rules (`nft flush ruleset`,
    /// a firewall that starts anew). Makes nothing where no pod has a port.
    package func restore(_ plan: PortPlan) throws(NodePortError) {
        guard let store = try PortStore(existing: folder), try !store.taken().isEmpty else { return }
        try install(plan, in: store)
    }

    /// The ports that are given out, and to whom.
    package func records() throws(NodePortError) -> [PortRecord] {
        guard let store = try PortStore(existing: folder) else { return [] }
        return try store.records()
    }

    /// Removes the table and every record: nothing of ours is left but the folder with its lock.
    package func removeAll() throws(NodePortError) {
        func removeTable() throws(NodePortError) {
            do throws(NetlinkError) { try PortTable().removeAll() } catch {
                // A kernel without nf_tables has no table.
                guard let errno = error.errno, [Errno(EOPNOTSUPP), Errno(EPROTONOSUPPORT)].contains(errno) else {
                    throw .kernel(error)
                }
            }
        }
        guard let store = try PortStore(existing: folder) else { return try removeTable() }
        try removeTable()
        try store.removeAll()
    }

    // MARK: - Parts, all with the lock held

    private func reserve(
        _ pod: IPv4Address, _ holder: PortHolder, _ plan: PortPlan, in store: borrowing PortStore
    ) throws(NodePortError) -> NodePort {
        let taken = try store.taken()
        let range = plan.range
        let count = Int(range.upperBound - range.lowerBound) + 1
        // Going round, so that a port has long been forgotten by its former peers when it is given again.
        let start = store.last().map { range.contains($0) ? Int($0 - range.lowerBound) + 1 : 0 } ?? 0
        for offset in 0..<count {
            let number = range.lowerBound + UInt16((start + offset) % count)
            guard !taken.contains(number), HostPorts.isFree(number) else { continue }
            let port = NodePort(number, pod: pod, podPort: plan.podPort)
            guard try store.reserve(PortRecord(port, holder)) else { continue }
            try? store.setLast(number)
            return port
        }
        throw .exhausted(
            "reserve a node port of \(range.lowerBound)-\(range.upperBound) for container \(holder.containerID): "
                + "all are taken")
    }

    private func map(_ port: NodePort, _ plan: PortPlan, in store: borrowing PortStore) throws(NodePortError) {
        if store.rules() == plan.rules {
            do throws(NetlinkError) {
                try PortTable().insert(port)
                return
            } catch {
                // No table any more, or an element that is not ours: all from the store again.
                guard let errno = error.errno, [.noEntry, .exists, .busy].contains(errno) else { throw .kernel(error) }
            }
        }
        try install(plan, for: port, in: store)
    }

    /// - Parameter port: one that is just given; others' records with its pod's address are of a pod that is gone, whose
    ///   DEL never came.
    private func install(
        _ plan: PortPlan, for port: NodePort? = nil, in store: borrowing PortStore
    ) throws(NodePortError) {
        var ports: [IPv4Address: NodePort] = [:]
        for record in try store.records() {
            if let port, record.port != port, record.port.pod == port.pod {
                try store.remove(record.port.number)
            } else {
                ports[record.port.pod] = record.port
            }
        }
        do throws(NetlinkError) {
            try PortTable().install(plan, ports.values.sorted { $0.number < $1.number })
        } catch { throw .kernel(error) }
        try store.setRules(plan.rules)
    }

    private func remove(
        _ port: NodePort, from store: borrowing PortStore, beforeClosing last: (Int32) -> Void = { _ in }
    ) throws(NodePortError) {
        let table = try Self.table()
        do throws(NetlinkError) { try table.remove(port) } catch { throw .kernel(error) }
        try store.setReleased(port)
        try store.remove(port.number)
        last(table.raw)
    }

    private static func table() throws(NodePortError) -> PortTable {
        do throws(NetlinkError) { return try PortTable() } catch { throw .kernel(error) }
    }
}
