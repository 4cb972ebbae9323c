import Addressing

extension Attachment {
    /// CHECK.
    package func check() throws(CNIError) {
        guard let json = conf.prevResult else {
            throw .invalidConfiguration("read prevResult: missing, CHECK needs it")
        }
        let result = try Result(previous: json)
        guard try conf.isOptedIn() else { return }
        let settings = try Settings(conf)
        let namespace = try openNamespace()
        let path = namespace.path
        let subject = "check \(settings.interface)"
        guard let index = result.interfaces.firstIndex(where: { $0.name == settings.interface && $0.sandbox == path })
        else { throw .checkFailed("\(subject): prevResult has no such interface in \(path)") }
        let reported = result.addresses.filter { $0.interface == index }.map(\.prefix)
        let (record, recorded) = try recordedAddresses(settings)
        guard Set(reported) == Set(recorded) else {
            throw .checkFailed(
                "\(subject): prevResult has \(Self.list(reported)), the store has "
                    + Self.list(recorded.map { $0.isHost ? "\($0.address)" : "\($0)" }))
        }
        if let record, !record.netns.isSame(as: namespace.identity) {
            throw .checkFailed("\(subject): \(path) is another namespace than at ADD")
        }
        try delegate(settings)?.check()
        let owner = try namespace.hostUid(of: settings.owner)
        var interface = PodInterface(
            settings: settings, owner: owner, addresses: recorded, routes: settings.routes,
            underlay: underlay(in: result))
        if namespace.isOwn { interface.resolver = [] }
        try namespace.run { () throws(CNIError) in try interface.check() }
    }

    /// The record, and those of its addresses whose reservations say the same.
    private func recordedAddresses(_ settings: Settings) throws(CNIError) -> (AttachmentRecord?, [IPPrefix]) {
        guard let store = try Store(existing: settings.location), let record = try store.record(of: holder) else {
            return (nil, [])
        }
        guard case .own = settings.addressing else { return (record, record.addresses) }
        return (record, record.addresses.filter { store.holder(of: $0.address) == holder })
    }
}
