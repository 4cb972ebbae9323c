import Addressing
import Glibc
import Linux

/// The verbs of CNI 1.1.0 that are about the network as a whole.
package struct Network: Sendable {
    package let invocation: Invocation
    package let conf: NetConf

    package init(_ invocation: Invocation, _ conf: NetConf) {
        self.invocation = invocation
        self.conf = conf
    }

    /// GC: removes the attachments that the runtime does not list, as their DEL would. An absent list removes nothing.
    ///
    /// What fails does not keep the rest from being removed; the first error is thrown at the end.
    package func collectGarbage() throws(CNIError) {
        guard let valid = conf.validAttachments.map({ Set($0) }) else { return }
        var firstFault: CNIError?
        func attempt(_ body: () throws(CNIError) -> Void) {
            do throws(CNIError) { try body() } catch { firstFault = firstFault ?? error }
        }
        let location = try conf.storeLocation()
        let folder = AttachmentFolder(dataDir: location.dataDir)
        var stale: [Store.Holder] = []
        attempt { () throws(CNIError) in
            stale = try folder.holders(in: location.network).filter { !valid.contains($0) }
        }
        for holder in stale {
            attempt { () throws(CNIError) in
                if let record = try? folder.record(of: holder, in: location.network) {
                    try Attachment.removeInterface(of: record, mayTouchOwnNamespace: invocation.mayTouchOwnNamespace)
                }
            }
        }
        attempt { () throws(CNIError) in try collectNodePorts(keeping: valid) }
        attempt { () throws(CNIError) in
            guard let store = try Store(existing: location) else { return }
            for holder in stale { attempt { () throws(CNIError) in try store.detach(holder) } }
            for address in try store.taken() {
                // A reservation with a record is of an ADD since the list was made.
                if let holder = store.holder(of: address), valid.contains(holder) || store.hasRecord(of: holder) {
                    continue
                }
                attempt { () throws(CNIError) in try store.remove(address) }
            }
        }
        attempt { () throws(CNIError) in
            guard let type = try conf.delegatedType() else { return }
            try DelegatedIPAM(type: type, invocation, conf).callIfKnown(.collectGarbage)
        }
        if let firstFault { throw firstFault }
    }

    /// STATUS: whether an ADD could succeed now.
    package func status() throws(CNIError) {
        let settings = try Settings(conf)
        if let fault = conf.leaseFault(now: Int64(time(nil))) { throw .notAvailable(fault) }
        if let agent = settings.agent, agent.isRequired {
            do throws(SystemError) { try agent.probe() } catch {
                throw .notAvailable("ask the node's agent: \(error)")
            }
        }
        guard unsafe access("/dev/net/tun", R_OK | W_OK) == 0 else {
            throw .notAvailable(SystemError("open /dev/net/tun", .current).description)
        }
        do throws(CNIError) {
            let store = try Store(creating: settings.location)
            try store.probe()
            if let range = settings.plan?.range {
                let taken = try store.taken().count { address in
                    if case .v4(let address) = address { range.contains(address) } else { false }
                }
                guard taken < range.count else {
                    throw .rangeExhausted("reserve an address of \(range) in \(settings.network): all are taken")
                }
            }
        } catch {
            throw .notAvailable(error.message)
        }
        if case .delegated(let type) = settings.addressing {
            try DelegatedIPAM(type: type, invocation, conf).callIfKnown(.status)
        }
    }
}
