package import Addressing
import CLinux
import CNftnl
import Glibc
import Linux
package import Netlink

/// What conntrack remembers of a node port and its pod from before they had each other, or from after.
///
/// NAT is decided by a flow's first packet, and a peer that goes on sending keeps the entry alive for ever: without this
/// a new pod's packets would leave as those of the last one with its address, and a former pod would get what is for the
/// new one. What the mapping that is in force has made, or leaves to others, stays: so this may be done at any time after the
/// map was changed, whatever the new pod has begun meanwhile.
///
/// The kernel looks through its whole table for each of three questions: about 30 ms with 100,000 entries, where it
/// filters by itself (Linux 5.8), and several times that where everything has to be shown.
package struct StaleFlows: Sendable {
    private let port: NodePort
    private let ownAddresses: Set<IPv4Address>
    private let mapped: [NodePort]
    private let exceptions: [IPPrefix]

    /// - Parameters:
    ///   - mapped: what is in force of the pod's address and the port now: the port itself, or others'.
    ///   - exceptions: what the rules leave alone.
    init(
        _ port: NodePort, ownAddresses: Set<IPv4Address>, mapped: [NodePort] = [], exceptions: [IPPrefix] = []
    ) {
        self.port = port
        self.ownAddresses = ownAddresses
        self.mapped = mapped
        self.exceptions = exceptions
    }

    /// The flow is as the mapping in force would make it anew, or one that it leaves alone.
    private func isInForce(_ flow: Flow) -> Bool {
        let (original, reply) = (flow.original, flow.reply)
        return mapped.contains { port in
            if original.source == port.pod, original.sourcePort == port.podPort {
                return reply.destinationPort == port.number
                    || exceptions.contains { $0.contains(.v4(original.destination)) }
            }
            return original.destinationPort == port.number && reply.source == port.pod
                && reply.sourcePort == port.podPort
        }
    }

    /// What is asked for, each with what of the answers is meant.
    var questions: [(filter: Flow.Filter, isMeant: @Sendable (Flow) -> Bool)] {
        let (port, own) = (port, ownAddresses)
        return [
            // From the pod: translated in another way, or not at all.
            (
                Flow.Filter(source: port.pod, sourcePort: port.podPort),
                { $0.original.source == port.pod && $0.original.sourcePort == port.podPort }
            ),
            // To the node port: on its way to another pod, or to the node itself.
            (
                Flow.Filter(destinationPort: port.number),
                { flow in
                    flow.original.destinationPort == port.number
                        && (flow.reply.sourcePort == port.podPort && flow.reply.source != flow.original.destination
                            || own.contains(flow.original.destination))
                }
            ),
            // From another pod's sidecar that had the node port.
            (
                Flow.Filter(destinationPort: port.number, isOfReply: true),
                { flow in
                    flow.reply.destinationPort == port.number && flow.original.sourcePort == port.podPort
                        && flow.reply.destination != flow.original.source
                }
            ),
        ]
    }

    /// Removes the flows of this port; returns how many there were.
    ///
    /// - Parameters:
    ///   - mapped: what is in force of the pod's address and the port now: the port itself, or others'.
    ///   - exceptions: what the rules leave alone.
    @discardableResult
    package static func forget(
        _ port: NodePort, mapped: [NodePort] = [], exceptions: [IPPrefix] = []
    ) throws(NetlinkError) -> Int {
        var routes = try RouteSocket()
        let own = try routes.addresses().compactMap { address -> IPv4Address? in
            if case .v4(let v4) = address.prefix.address { v4 } else { nil }
        }
        var socket = try RouteSocket(NETLINK_NETFILTER)
        var count = 0
        let flows = StaleFlows(port, ownAddresses: Set(own), mapped: mapped, exceptions: exceptions)
        for (filter, isMeant) in flows.questions {
            let request = try Flow.list(filter)
            for reply in try socket.request(request, "list flows of node port \(port)") {
                guard let flow = Flow(reply), isMeant(flow), !flows.isInForce(flow) else { continue }
                do throws(NetlinkError) {
                    _ = try socket.request(flow.deleting(), "delete a flow of node port \(port)")
                    count += 1
                } catch {
                    // It ended by itself meanwhile.
                    if error.errno != .noEntry { throw error }
                }
            }
        }
        return count
    }

    /// As `forget`, for a port just mapped and for all that were released, by a child process that begins when this one has
    /// ended, and that nobody waits for: a plugin must answer before, and while the kernel looks through its table others
    /// wait, an ADD's own requests among them. Only for a process with one thread, that ends soon.
    ///
    /// One child works at a time, with the least priority. What it does not come to, the next one finds, or the node's agent.
    ///
    /// - Parameters:
    ///   - port: one that was mapped just now by `plan`; nil for none.
    ///   - folder: the store's, where they take turns.
    ///   - kept: a descriptor that the child has too, until it ends: of a socket that the kernel takes long to close, a grace
    ///     period for elements that were removed by it.
    package static func forgetAfterExit(
        _ port: NodePort? = nil, mappedBy plan: PortPlan? = nil, folder: String, keeping kept: Int32? = nil
    ) {
        // The end for writing stays open until this process ends.
        var ends: [Int32] = [-1, -1]
        guard unsafe CLinux_pipe2(&ends, O_CLOEXEC) == 0 else { return }
        let child = fork()
        guard child == 0 else {
            _ = close(ends[0])
            return
        }
        // The caller's lock and output must not live as long as this.
        dup2(ends[0], 0)
        if let kept { dup2(kept, 1) }
        closefrom(kept == nil ? 1 : 2)
        setsid()
        _ = alarm(120)
        _ = nice(19)
        var byte: UInt8 = 0
        while unsafe read(0, &byte, 1) < 0, errno == EINTR {}
        // Others that come with this one have had time to end too.
        usleep(500_000)
        do throws(NodePortError) {
            try takeTurn(in: folder) { () throws(NodePortError) in
                if let port {
                    _ = try? forget(port, mapped: [port], exceptions: plan?.exceptions ?? [])
                }
                try forgetReleasedInTurn(folder)
            }
        } catch {}
        _exit(0)
    }

    /// There are released ports whose flows nobody has made conntrack forget yet.
    package static func isDue(in folder: String) -> Bool { !PortStore.released(in: folder).isEmpty }

    /// Makes conntrack forget the flows of all ports that were released, whoever has died before it could. Returns at once
    /// where somebody is at it.
    ///
    /// - Parameter folder: the store's.
    package static func forgetReleased(folder: String) throws(NodePortError) {
        guard isDue(in: folder) else { return }
        try takeTurn(in: folder, waiting: false) { () throws(NodePortError) in try forgetReleasedInTurn(folder) }
    }

    private static func forgetReleasedInTurn(_ folder: String) throws(NodePortError) {
        for port in PortStore.released(in: folder) {
            // Port and address may be others' by now.
            let mapped = try PortStore.records(in: folder).map(\.port)
            do throws(NetlinkError) {
                _ = try forget(port, mapped: mapped.filter { $0.number == port.number || $0.pod == port.pod })
            } catch { throw .kernel(error) }
            PortStore.setForgotten(port, in: folder)
        }
    }

    private static func takeTurn(
        in folder: String, waiting: Bool = true, _ body: () throws(NodePortError) -> Void
    ) throws(NodePortError) {
        let turn: FileDescriptor
        do throws(SystemError) {
            turn = try FileDescriptor(open: "\(folder)/flows", O_RDWR | O_CREAT | O_NOFOLLOW)
        } catch { throw .store("\(error)") }
        guard flock(turn.raw, waiting ? LOCK_EX : LOCK_EX | LOCK_NB) == 0 else { return }
        try body()
        _ = flock(turn.raw, LOCK_UN)
    }
}
