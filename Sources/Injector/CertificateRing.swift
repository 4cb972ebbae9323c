package import Timing

/// How long certificates last.
package struct CertificatePolicy: Equatable, Sendable {
    /// The names that the API server calls the webhook by.
    package var names: [String]
    /// In seconds.
    package var authorityLife: Int64 = 365 * 86400
    package var leafLife: Int64 = 30 * 86400
    /// How long a new authority is trusted before it signs: every API server must have read the new bundle.
    package var overlap: Int64 = 600

    package init(names: [String]) { self.names = names }
}

/// The webhook's certificates through their turns, so that at no time a server shows a leaf that is not yet, or no longer,
/// trusted:
///
///     authority A signs ─────────── 2/3 of its life ─┬─ published + overlap ─┬──────────────
///     bundle            A                            │ A and B               │ B, and A until it ends
///     leaf              by A, anew at 2/3 of its life │ by A                  │ by B
///
/// A value: `turned` says what comes next, and whoever keeps it stores, publishes and serves it, in that order.
package struct CertificateRing: Equatable, Sendable {
    package var leaf: KeyedCertificate
    /// What the leaf is for.
    package var names: [String]
    /// What signs leaves.
    package var authority: KeyedCertificate
    /// What will, once it is known everywhere.
    package var next: KeyedCertificate?
    /// Since when the bundle with `next` is published; nil as long as it is not.
    package var nextPublished: WallTime?
    /// Authorities that sign no more, whose leaves may still be shown: certificates alone, their keys are forgotten.
    package var retired: [String] = []

    package init(policy: CertificatePolicy, now: WallTime) throws(InjectorError) {
        authority = try CertificateIssuer.authority(life: policy.authorityLife, now: now)
        leaf = try CertificateIssuer.leaf(policy.names, by: authority, life: policy.leafLife, now: now)
        names = policy.names
    }

    /// What whoever verifies the leaf must trust: the caBundle.
    package var bundle: String {
        ([authority.certificate] + (next.map { [$0.certificate] } ?? []) + retired).joined()
    }

    /// The ring as it should be `now`; itself when there is nothing to do.
    package func turned(_ policy: CertificatePolicy, now: WallTime) throws(InjectorError) -> CertificateRing {
        // Slept through its end: nothing that was trusted is of use.
        guard now < authority.notAfter else { return try CertificateRing(policy: policy, now: now) }
        var ring = self
        ring.retired.removeAll { KeyedCertificate.end(of: $0).map { $0 <= now } ?? true }
        if ring.next == nil, now >= authority.renewal {
            ring.next = try CertificateIssuer.authority(life: policy.authorityLife, now: now)
            ring.nextPublished = nil
        }
        if let next = ring.next, let published = ring.nextPublished,
            now.seconds >= published.seconds + policy.overlap
        {
            ring.retired.append(authority.certificate)
            ring.authority = next
            (ring.next, ring.nextPublished) = (nil, nil)
            ring.leaf = try CertificateIssuer.leaf(policy.names, by: next, life: policy.leafLife, now: now)
        } else if names != policy.names || now >= leaf.renewal && leaf.notAfter < authority.notAfter {
            ring.leaf = try CertificateIssuer.leaf(policy.names, by: authority, life: policy.leafLife, now: now)
        }
        ring.names = policy.names
        return ring
    }

    /// When `turned` has something to do again, at the latest.
    package func deadline(_ policy: CertificatePolicy) -> WallTime {
        let switching = nextPublished.map { WallTime(seconds: $0.seconds + policy.overlap) }
        return min(leaf.renewal, next == nil ? authority.renewal : switching ?? leaf.renewal)
    }
}

extension CertificateRing {
    /// As files, by name: what a folder or a Secret holds. `tls.crt`, `tls.key` and `ca.crt` are what others read as well.
    package var files: [String: String] {
        var files = [
            "tls.crt": leaf.certificate, "tls.key": leaf.key, "ca.crt": bundle,
            "authority.crt": authority.certificate, "authority.key": authority.key,
            "retired.crt": retired.joined(), "names": names.joined(separator: ","),
        ]
        files["next.crt"] = next?.certificate ?? ""
        files["next.key"] = next?.key ?? ""
        files["next.published"] = nextPublished.map { String($0.seconds) } ?? ""
        return files
    }

    /// Nil for files that are no ring, or not yet.
    ///
    /// - Throws: when there is a ring that can't be read: it is not replaced, as others may still trust it.
    package init?(files: [String: String]) throws(InjectorError) {
        guard files["tls.crt"] != nil, files["authority.crt"] != nil else { return nil }
        func pair(_ name: String) throws(InjectorError) -> KeyedCertificate? {
            guard let certificate = files["\(name).crt"], !certificate.isEmpty, let key = files["\(name).key"] else {
                return nil
            }
            do { return try KeyedCertificate(certificate: certificate, key: key) } catch {
                throw .certificate("\(name).crt and \(name).key: \(error)")
            }
        }
        guard let leaf = try pair("tls"), let authority = try pair("authority") else {
            throw .certificate("tls.key or authority.key is missing beside its certificate")
        }
        self.leaf = leaf
        self.authority = authority
        names = (files["names"] ?? "").split(separator: ",").map(String.init)
        next = try pair("next")
        nextPublished = files["next.published"].flatMap { Int64($0) }.map { WallTime(seconds: $0) }
        retired = Self.certificates(in: files["retired.crt"] ?? "")
    }

    /// The certificates of a PEM text, one by one.
    static func certificates(in text: String) -> [String] {
        let end = "-----END CERTIFICATE-----\n"
        var rest = text[...]
        var found: [String] = []
        while let range = rest.firstRange(of: end) {
            found.append(String(rest[..<range.upperBound]))
            rest = rest[range.upperBound...]
        }
        return found
    }
}
