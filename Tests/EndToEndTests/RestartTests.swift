import Control
import Foundation
import Glibc
import Lab
import Testing

extension EndToEnd {
    /// What fails, and how soon data flows again.
    @Suite struct Restarts {
        @Test(.timeLimit(.minutes(3)))
        func `a hub that is dead for 60 s costs a direct path no packet`() throws {
            try withPair { mesh, a, b in
                let address = try mesh.virtualIPv6(of: b)
                try mesh.waitDirect(a, to: address)
                // The answers' way is a path of its own.
                try mesh.waitDirect(b, to: try mesh.virtualIPv6(of: a))
                try mesh.stopHub(signal: SIGKILL)
                let report = try a.ping(address, count: 1200, interval: 0.05)
                #expect(report.sent == 1200)
                #expect(report.missing == [])
                if report.lost > 0 { printLogs(mesh) }
                #expect(try mesh.peer(of: a, at: address)?.path == "direct")
                figure("hub dead", "\(report.lost) of \(report.sent) packets lost in 60 s")
                try mesh.startHub()
                try mesh.waitReady(a)
            }
        }

        @Test func `a sidecar killed with SIGKILL carries data within 3 s of its start, as the same agent`() throws {
            try withPair { mesh, a, b in
                let address = try mesh.virtualIPv6(of: b)
                try mesh.waitDirect(a, to: address)
                let before = try b.run("ip", "-o", "address", "show", "dev", Plan.interface)
                for pod in [b, a] {
                    let seconds = try mesh.recoveryAfterKill(of: pod, watchedFrom: a, address: address)
                    #expect(seconds <= 3)
                    if seconds > 1 { printLogs(mesh) }
                    figure("kill -9 of \(pod.name)'s sidecar", "data after \(fixed(seconds, 3)) s")
                }
                #expect(try b.run("ip", "-o", "address", "show", "dev", Plan.interface) == before)
            }
        }

        @Test func `either router may forget its bindings`() throws {
            try withPair { mesh, a, b in
                let address = try mesh.virtualIPv6(of: b)
                try mesh.waitDirect(a, to: address)
                for site in Plan.sites {
                    let gap = try mesh.gapAfterFlush(of: site, watchedFrom: a, address: address, seconds: 8)
                    #expect(gap <= 5)
                    figure("conntrack of \(site.router) flushed", "silent for \(fixed(gap, 3)) s")
                }
                try mesh.waitDirect(a, to: address)
            }
        }

        @Test func `SIGTERM ends hub and sidecars with status 0`() throws {
            try withPair { mesh, a, b in
                for pod in [a, b] {
                    let process = try mesh.sidecar(of: pod)
                    process.signal(SIGTERM)
                    #expect(try process.wait(timeout: 5) == 0)
                }
                #expect(try mesh.stopHub() == 0)
            }
        }
    }
}
