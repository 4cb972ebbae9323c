import Glibc
import NIOSSL
import Testing
import Timing

@testable import Injector

/// Years of turning in virtual time; no server is needed.
@Suite struct CertificateRingTests {
    private static let day: Int64 = 86400
    private static let start = WallTime(seconds: 1_800_000_000)

    private static var policy: CertificatePolicy {
        CertificatePolicy(names: ["warren-injector.warren-system.svc"])
    }

    private func verifies(_ leaf: String, by bundle: String) throws -> Bool {
        // By the key identifiers: each leaf names the authority that has signed it.
        let authorities = try NIOSSLCertificate.fromPEMBytes(Array(bundle.utf8))
        let ring = try Scratch.verify(leaf: leaf, bundle: bundle)
        return ring && !authorities.isEmpty
    }

    @Test func `at no time is a leaf shown that the published bundle doesn't verify`() throws {
        let policy = Self.policy
        var ring = try CertificateRing(policy: policy, now: Self.start)
        var published = ring.bundle
        // What a slow API server still has: the bundle of one overlap ago.
        var history: [(WallTime, String)] = [(Self.start, published)]
        var now = Self.start
        var leaves: Set<String> = [ring.leaf.certificate]
        var authorities: Set<String> = [ring.authority.certificate]
        var checked = 0
        while now.seconds < Self.start.seconds + 900 * Self.day {
            let before = ring
            ring = try ring.turned(policy, now: now)
            // Stored and published, then shown: with the old leaf and the new.
            published = ring.bundle
            history.append((now, published))
            if ring.next != nil, ring.nextPublished == nil { ring.nextPublished = now }
            if before != ring {
                let old = history.last { $0.0.seconds <= now.seconds - policy.overlap }?.1 ?? history[0].1
                for leaf in [before.leaf.certificate, ring.leaf.certificate] {
                    let byNew = try verifies(leaf, by: published)
                    #expect(byNew, "day \((now.seconds - Self.start.seconds) / Self.day)")
                }
                let byOld = try verifies(ring.leaf.certificate, by: old)
                #expect(byOld, "an API server that is \(policy.overlap) s behind")
                checked += 1
            }
            #expect(ring.leaf.notAfter > now)
            #expect(ring.leaf.notAfter <= ring.authority.notAfter)
            let left = Double(ring.leaf.notAfter.seconds - now.seconds)
            let life = Double(ring.leaf.notAfter.seconds - ring.leaf.notBefore.seconds)
            #expect(left / life > 0.3, "a third is left to replace it in")
            leaves.insert(ring.leaf.certificate)
            authorities.insert(ring.authority.certificate)
            #expect(ring.retired.count <= 2)
            let next = ring.deadline(policy)
            #expect(next > now, "the deadline must be ahead")
            now = WallTime(seconds: min(max(next.seconds, now.seconds + 60), now.seconds + 10 * Self.day))
        }
        #expect(authorities.count == 4, "900 days, an authority each 243")
        #expect(leaves.count > 40)
        #expect(checked > 40)
    }

    @Test func `a new authority waits until it is published`() throws {
        let policy = Self.policy
        let ring = try CertificateRing(policy: policy, now: Self.start)
        let due = WallTime(seconds: ring.authority.renewal.seconds + 1)
        let staged = try ring.turned(policy, now: due)
        #expect(staged.next != nil)
        #expect(staged.authority == ring.authority)
        // Not published, however long: nothing is signed with it.
        let later = WallTime(seconds: due.seconds + 30 * Self.day)
        #expect(try staged.turned(policy, now: later).authority == ring.authority)
        var published = staged
        published.nextPublished = due
        let early = WallTime(seconds: due.seconds + policy.overlap - 1)
        #expect(try published.turned(policy, now: early).authority == ring.authority)
        let switched = try published.turned(policy, now: WallTime(seconds: due.seconds + policy.overlap))
        #expect(switched.authority == staged.next)
        #expect(switched.retired == [ring.authority.certificate])
        #expect(switched.bundle.contains(ring.authority.certificate))
        // Forgotten once it has ended.
        let end = WallTime(seconds: ring.authority.notAfter.seconds)
        #expect(try switched.turned(policy, now: end).retired.isEmpty)
    }

    @Test func `who slept through the end starts anew`() throws {
        let policy = Self.policy
        let ring = try CertificateRing(policy: policy, now: Self.start)
        let late = WallTime(seconds: ring.authority.notAfter.seconds + Self.day)
        let fresh = try ring.turned(policy, now: late)
        #expect(fresh.authority != ring.authority)
        #expect(fresh.leaf.notAfter > late)
        #expect(fresh.retired.isEmpty)
    }

    @Test func `other names make another leaf by the same authority`() throws {
        let ring = try CertificateRing(policy: Self.policy, now: Self.start)
        let other = try ring.turned(CertificatePolicy(names: ["other.svc"]), now: Self.start)
        #expect(other.leaf != ring.leaf)
        #expect(other.authority == ring.authority)
        #expect(try other.turned(CertificatePolicy(names: ["other.svc"]), now: Self.start) == other)
    }

    @Test func `a ring survives its files`() throws {
        let policy = Self.policy
        var ring = try CertificateRing(policy: policy, now: Self.start)
        #expect(try CertificateRing(files: ring.files) == ring)
        ring.next = try CertificateIssuer.authority(life: Self.day, now: Self.start)
        ring.nextPublished = Self.start
        ring.retired = [
            ring.authority.certificate, try CertificateIssuer.authority(life: 9, now: Self.start).certificate,
        ]
        #expect(try CertificateRing(files: ring.files) == ring)
        #expect(try CertificateRing(files: [:]) == nil)
        var broken = ring.files
        broken["authority.key"] = "junk"
        #expect(throws: InjectorError.self) { try CertificateRing(files: broken) }
    }

    @Test(arguments: ["a,DNS:evil.example", "", "a b", "*.svc", "ä.svc"])
    func `a name that is none makes no certificate`(_ name: String) throws {
        let authority = try CertificateIssuer.authority(life: Self.day, now: Self.start)
        #expect(throws: InjectorError.self) {
            try CertificateIssuer.leaf([name], by: authority, life: 60, now: Self.start)
        }
    }

    @Test func `openssl takes them for what they are`() throws {
        let now = WallTime.now()
        let authority = try CertificateIssuer.authority(life: Self.day, now: now)
        let leaf = try CertificateIssuer.leaf(
            ["a.b.svc", "a.b.svc.cluster.local"], by: authority, life: 3600, now: now)
        #expect(try Scratch.verify(leaf: leaf.certificate, bundle: authority.certificate))
        let other = try CertificateIssuer.authority(life: Self.day, now: now)
        #expect(try !Scratch.verify(leaf: leaf.certificate, bundle: other.certificate))
        // Nor does a leaf sign.
        #expect(try !Scratch.verify(leaf: leaf.certificate, bundle: leaf.certificate))
        #expect(leaf.notAfter.seconds == now.seconds + 3600)
    }
}
