package import Addressing

extension AddressPlan {
    /// Tries at which a container's IPv6 address is looked for; with 64 bits the second is already a curiosity.
    static let attempts = 16
    /// IPv4 addresses that are tried one by one before the whole folder is read.
    static let probes = 16

    /// Chooses one IPv6 address, and one IPv4 address if there is a range, that are free. They stay so while the store
    /// is locked: reserving them can't collide.
    ///
    /// - Parameter requested: addresses asked for, of which each family may have one; the others are chosen.
    package func choose(
        requested: [IPAddress], identity: AddressIdentity, holder: Store.Holder, in store: borrowing Store
    ) throws(CNIError) -> [IPAddress] {
        for address in requested {
            if let refusal = refusal(of: address) {
                throw .invalidConfiguration("reserve \(address) for \(holder): \(refusal)")
            }
            guard requested.filter({ $0.isIPv6 == address.isIPv6 }).count == 1 else {
                throw .invalidConfiguration("reserve \(address) for \(holder): two addresses of one family asked for")
            }
            store.removeIfEmpty(address)
            if store.isTaken(address) {
                let owner = store.holder(of: address)?.containerID ?? "unknown"
                throw .addressTaken("reserve \(address) for \(holder): container \(owner) holds it")
            }
        }
        var addresses = requested
        if !requested.contains(where: \.isIPv6) { addresses.append(.v6(try chooseIPv6(identity, in: store))) }
        if let range, !requested.contains(where: { !$0.isIPv6 }) {
            let address = try choose(from: range, in: store)
            try store.setLastReserved(address)
            addresses.append(.v4(address))
        }
        return addresses.sorted { $0.isIPv6 && !$1.isIPv6 }
    }

    private func chooseIPv6(_ identity: AddressIdentity, in store: borrowing Store) throws(CNIError) -> IPv6Address {
        for attempt in 0..<Self.attempts {
            let address = address(of: identity, attempt: attempt)
            if !store.isTaken(.v6(address)) { return address }
        }
        throw .rangeExhausted(
            "reserve an address of \(block) in \(identity.network): \(Self.attempts) in a row are taken")
    }

    /// The next free address after the last one given out.
    private func choose(from range: AddressRange, in store: borrowing Store) throws(CNIError) -> IPv4Address {
        let round = range.roundRobin(after: store.lastReserved())
        for address in round.prefix(Self.probes) where !store.isTaken(.v4(address)) { return address }
        let taken = try store.taken()
        for address in round where !taken.contains(.v4(address)) { return address }
        // The last resort: what a crashed plugin of another make left.
        for address in round.prefix(1024) {
            store.removeIfEmpty(.v4(address))
            if !store.isTaken(.v4(address)) { return address }
        }
        throw .rangeExhausted("reserve an address of \(range) in \(store.location.network): all are taken")
    }
}
