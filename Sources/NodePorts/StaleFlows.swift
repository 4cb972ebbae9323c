import Addressing
import CLinux
import CNftnl
import Glibc
import Linux
package import Netlink

/// What conntrack remembers of a node port and its pod from before they had each other, or from after.
///
/// NAT is decided by a flow's first packet, and a peer that goes on sending keeps the entry alive for ever: without this
/// a new pod's packets would leave as those of the last one with its address, and a former pod would get what is for the
/// new one. Entries of the mapping that is in force are removed too, which costs nothing: the next packet makes the
/// same again. For the same reason this may be done at any time after the map was changed.
///
/// The kernel looks through its whole table for each of three questions: about 30 ms with 100,000 entries, where it
/// filters by itself (Linux 5.8), and several times that where everything has to be shown.
package struct StaleFlows: Sendable {
    private let port: NodePort
    private let ownAddresses: Set<IPv4Address>

    init(_ port: NodePort, ownAddresses: Set<IPv4Address>) {
        self.port = port
        self.ownAddresses = ownAddresses
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
    @discardableResult
    package static func forget(_ port: NodePort) throws(NetlinkError) -> Int {
        var routes = try RouteSocket()
        let own = try routes.addresses().compactMap { address -> IPv4Address? in
            if case .v4(let v4) = address.prefix.address { v4 } else { nil }
        }
        var socket = try RouteSocket(NETLINK_NETFILTER)
        var count = 0
        for (filter, isMeant) in StaleFlows(port, ownAddresses: Set(own)).questions {
            let request = try Flow.list(filter)
            for reply in try socket.request(request, "list flows of node port \(port)") {
                guard let flow = Flow(reply), isMeant(flow) else { continue }
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

    /// As `forget`, by a child process that begins when this one has ended, and that nobody waits for: a plugin must
    /// answer before, and while the kernel looks through its table others wait, an ADD's own requests among them. Only for
    /// a process with one thread, that ends soon.
    ///
    /// One child works at a time, with the least priority. What fails is lost: the flows then end when they are silent for
    /// two minutes.
    ///
    /// - Parameter folder: the store's, where they take turns.
    package static func forgetAfterExit(_ ports: [NodePort], folder: String) {
        // The end for writing stays open until this process ends.
        var ends: [Int32] = [-1, -1]
        guard !ports.isEmpty, unsafe CLinux_pipe2(&ends, O_CLOEXEC) == 0 else { return }
        let child = fork()
        guard child == 0 else {
            _ = close(ends[0])
            return
        }
        // The caller's lock and output must not live as long as this.
        dup2(ends[0], 0)
        closefrom(1)
        setsid()
        _ = alarm(120)
        _ = nice(19)
        var byte: UInt8 = 0
        while unsafe read(0, &byte, 1) < 0, errno == EINTR {}
        // Others that come with this one have had time to end too.
        usleep(500_000)
        if let turn = try? FileDescriptor(open: "\(folder)/flows", O_RDWR | O_CREAT | O_NOFOLLOW) {
            _ = flock(turn.raw, LOCK_EX)
            for port in ports { _ = try? forget(port) }
        }
        _exit(0)
    }
}
