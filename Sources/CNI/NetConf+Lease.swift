extension NetConf {
    /// Whether this node's addresses are its own still; nil, or why not. When the lease of their block has ended, another
    /// node may have it: what is attached goes on, and nothing is attached any more.
    ///
    /// - Parameter now: seconds since 1970.
    func leaseFault(now: Int64) -> String? {
        guard let leaseEnds, leaseEnds <= now else { return nil }
        return "give out addresses: the lease of this node's block ended \(now - leaseEnds) s ago; "
            + "the log of warren-node says why it is not renewed"
    }
}
