import Addressing
import Glibc

extension Attachment {
    /// DEL: removes whatever is left, and never fails for what is not there. An error of ours would stop the chain and
    /// leak the primary plugin's address, so what can't be removed is only reported.
    ///
    /// - Returns: what could not be done, for stderr.
    package func delete() throws(CNIError) -> [String] {
        let name = try conf.interfaceName()
        let location = try conf.storeLocation()
        var faults: [String] = []
        func attempt(_ body: () throws(CNIError) -> Void) {
            do throws(CNIError) { try body() } catch { faults.append(error.message) }
        }
        let folder = AttachmentFolder(dataDir: location.dataDir)
        var record: AttachmentRecord?
        attempt { () throws(CNIError) in record = try folder.record(of: holder, in: location.network) }
        // A pod that did not opt in has nothing of ours; a configuration that can't tell is no reason to leave things.
        guard record != nil || (try? conf.isOptedIn()) ?? true else { return faults }
        if let record {
            attempt { () throws(CNIError) in
                try Self.removeInterface(
                    of: record, alsoAt: invocation.netns, mayTouchOwnNamespace: invocation.mayTouchOwnNamespace,
                    isPlugin: true)
            }
        } else if let path = invocation.netns {
            attempt { () throws(CNIError) in
                try removeInterface(name, in: path, location: location)
            }
        }
        attempt { () throws(CNIError) in
            guard let type = try conf.delegatedType() else { return }
            try DelegatedIPAM(type: type, invocation, conf).delete()
        }
        attempt { () throws(CNIError) in try releaseNodePort(record?.nodePort) }
        attempt { () throws(CNIError) in try free(location) }
        return faults
    }

    /// Removes an attachment's interface, unless its namespace is gone.
    ///
    /// - Parameter other: where the namespace may be found too; a path that leads to another one is passed over.
    static func removeInterface(
        of record: AttachmentRecord, alsoAt other: String? = nil, mayTouchOwnNamespace: Bool, isPlugin: Bool = false
    ) throws(CNIError) {
        for path in [record.netns.path, other].compactMap({ $0 }) where unsafe access(path, F_OK) == 0 {
            let namespace = try PodNamespace(path: path)
            guard namespace.identity.isSame(as: record.netns) else { continue }
            try refuseOwn(namespace, record.interface, mayTouchOwnNamespace)
            let ours = Set(record.addresses.map(\.address))
            return try namespace.run { () throws(CNIError) in
                try PodInterface.remove(named: record.interface, isPlugin: isPlugin) { (addresses) throws(CNIError) in
                    // Another attachment may have been there first: then this one's ADD was killed.
                    addresses.isEmpty || addresses.contains { ours.contains($0) }
                }
            }
        }
    }

    /// Without a record, as where the store was lost: the interface goes unless it holds somebody else's address.
    private func removeInterface(_ name: String, in path: String, location: StoreLocation) throws(CNIError) {
        guard unsafe access(path, F_OK) == 0 else { return }
        let namespace = try PodNamespace(path: path)
        try Self.refuseOwn(namespace, name, invocation.mayTouchOwnNamespace)
        let holder = holder
        try namespace.run { () throws(CNIError) in
            try PodInterface.remove(named: name, isPlugin: true) { (addresses) throws(CNIError) in
                guard let store = try Store(existing: location) else { return true }
                return addresses.allSatisfy { (store.holder(of: $0) ?? holder) == holder }
            }
        }
    }

    private static func refuseOwn(
        _ namespace: borrowing PodNamespace, _ name: String, _ mayTouchOwnNamespace: Bool
    ) throws(CNIError) {
        guard namespace.isOwn && !mayTouchOwnNamespace else { return }
        let path = namespace.path
        throw .invalidNamespace("delete \(name): \(path) is the plugin's own namespace, left alone")
    }
}
