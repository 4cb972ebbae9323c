package import Addressing

extension AddressPlan {
    /// Tries at which a container's IPv6 address is looked for; with 64 bits the second is already a curiosity.
    static let attempts = 16

    /// Reserves one IPv6 address, and one IPv4 address if there is a range. All or nothing.
    ///
    /// - Parameter requested: addresses asked for, of which each family may have one; the others are chosen.
    package func allocate(
        requested: [IPAddress], network: String, holder: Store.Holder, in store: borrowing Store
    ) throws(CNIError) -> [IPAddress] {
        let subject = "container \(holder.containerID) interface \(holder.ifName)"
        let held = try store.addresses(of: holder)
        guard held.isEmpty else {
            let list = held.map { "\($0)" }.joined(separator: ", ")
            throw .alreadyAttached("attach \(subject) to \(network): it holds \(list) already")
        }
        for address in requested {
            if let refusal = refusal(of: address) {
                throw .invalidConfiguration("reserve \(address) for \(subject): \(refusal)")
            }
            guard requested.filter({ $0.isIPv6 == address.isIPv6 }).count == 1 else {
                throw .invalidConfiguration("reserve \(address) for \(subject): two addresses of one family asked for")
            }
        }
        try store.removeLeftovers()
        do throws(CNIError) {
            for address in requested where try !store.reserve(address, for: holder) {
                let owner = store.holder(of: address)?.containerID ?? "unknown"
                throw .addressTaken("reserve \(address) for \(subject): container \(owner) holds it")
            }
            var addresses = requested
            if !requested.contains(where: \.isIPv6) {
                addresses.append(.v6(try chooseIPv6(network: network, holder: holder, in: store)))
            }
            if let range, !requested.contains(where: { !$0.isIPv6 }) {
                addresses.append(.v4(try choose(from: range, network: network, holder: holder, in: store)))
            }
            return addresses.sorted { $0.isIPv6 && !$1.isIPv6 }
        } catch {
            _ = try? store.release(holder)
            throw error
        }
    }

    private func chooseIPv6(
        network: String, holder: Store.Holder, in store: borrowing Store
    ) throws(CNIError) -> IPv6Address {
        for attempt in 0..<Self.attempts {
            let address = address(network: network, containerID: holder.containerID, attempt: attempt)
            if try store.reserve(.v6(address), for: holder) { return address }
        }
        throw .rangeExhausted("reserve an address of \(block) in \(network): \(Self.attempts) in a row are taken")
    }

    private func choose(
        from range: AddressRange, network: String, holder: Store.Holder, in store: borrowing Store
    ) throws(CNIError) -> IPv4Address {
        let taken = try store.taken()
        for address in range.roundRobin(after: store.lastReserved()) {
            // An unreadable record may be a crash's leftover: reserve() decides.
            if taken.contains(.v4(address)), store.holder(of: .v4(address)) != nil { continue }
            if try store.reserve(.v4(address), for: holder) {
                try store.setLastReserved(address)
                return address
            }
        }
        throw .rangeExhausted("reserve an address of \(range) in \(network): all are taken")
    }
}
