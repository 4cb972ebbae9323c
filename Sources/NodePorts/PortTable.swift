import Linux
import Netlink

/// Our table in the kernel of the network namespace that this value was made in. Needs CAP_NET_ADMIN there.
///
/// Every call is one transaction, and can be repeated. Whoever calls holds the store's lock.
struct PortTable: ~Copyable {
    private let socket: NetfilterSocket

    init() throws(NetlinkError) { socket = try NetfilterSocket() }

    /// The socket's descriptor, which stays owned here.
    var raw: Int32 { socket.raw }

    /// Makes the table and everything in it, whatever was there: its pods are exactly `ports`. Connections that are
    /// translated already stay as they are.
    func install(_ plan: PortPlan, _ ports: [NodePort]) throws(NetlinkError) {
        var transaction = Transaction()
        transaction.makeTable()
        for set in [Ruleset.except, Ruleset.outbound, Ruleset.inbound] { transaction.empty(set) }
        transaction.insert(plan.exceptElements, into: Ruleset.except, "fill \(Ruleset.except)")
        transaction.insert(ports.map(\.outbound), into: Ruleset.outbound, "map pods to node ports")
        transaction.insert(ports.map(\.inbound), into: Ruleset.inbound, "map node ports to pods")
        try socket.commit(transaction)
    }

    /// - Throws: ENOENT where there is no table, EEXIST or EBUSY where pod or port have another element.
    func insert(_ port: NodePort) throws(NetlinkError) {
        var transaction = Transaction()
        transaction.insert([port.outbound], into: Ruleset.outbound, "map node port \(port)")
        transaction.insert([port.inbound], into: Ruleset.inbound, "map node port \(port)")
        try socket.commit(transaction)
    }

    /// Removes the port's elements and closes it for a while. What is not there is no error.
    func remove(_ port: NodePort) throws(NetlinkError) {
        let operation = "remove node port \(port)"
        var transaction = Transaction()
        transaction.delete(port.outbound, from: Ruleset.outbound, operation)
        transaction.delete(port.inbound, from: Ruleset.inbound, operation)
        transaction.insert([port.closed], into: Ruleset.closed, operation)
        if try succeeds(transaction) { return }
        // Some of it is missing, perhaps all: one by one.
        for (element, set) in [(port.outbound, Ruleset.outbound), (port.inbound, Ruleset.inbound)] {
            var transaction = Transaction()
            transaction.delete(element, from: set, operation)
            _ = try succeeds(transaction)
        }
    }

    func removeAll() throws(NetlinkError) {
        var transaction = Transaction()
        transaction.deleteTable()
        _ = try succeeds(transaction)
    }

    /// False when what it is about is not there.
    private func succeeds(_ transaction: consuming Transaction) throws(NetlinkError) -> Bool {
        do throws(NetlinkError) { try socket.commit(transaction) } catch {
            guard error.errno == .noEntry else { throw error }
            return false
        }
        return true
    }
}
