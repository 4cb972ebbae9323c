import Foundation
import Glibc
import Lab
import TestSupport
import Testing

extension EndToEnd {
    /// The end of a sidecar, and how one that is stuck is noticed.
    @Suite struct Ends {
        private static let port = "19586"
        private static let options = ["--drain", "20", "--metrics-listen", "[::]:\(port)"]

        private func withDrainingPair(_ body: (Mesh, Pod, Pod) throws -> Void) throws {
            try withMesh { mesh in
                try mesh.startHub()
                let (a, b) = (try mesh.addPod("pod-a", site: Plan.siteA), try mesh.addPod("pod-b", site: Plan.siteB))
                for pod in [a, b] {
                    try mesh.startSidecar(pod, token: try mesh.token("--name", pod.name), options: Self.options)
                }
                for pod in [a, b] { try mesh.waitReady(pod) }
                try mesh.waitDirect(a, to: try mesh.virtualIPv6(of: b))
                try body(mesh, a, b)
            }
        }

        /// Sends so many numbers by TCP, ten a second, and expects each back; then closes.
        private static let client = """
            import socket, sys, time
            s = socket.create_connection((sys.argv[1], 7777), 5); s.settimeout(10); f = s.makefile('rw')
            for n in range(int(sys.argv[2])):
                print(n, file=f, flush=True)
                assert f.readline() == f'{n}\\n'
                print(n, flush=True)
                time.sleep(0.1)
            s.shutdown(socket.SHUT_WR)
            assert f.readline() == ''
            print('done', flush=True)
            """
        private static let server = """
            import socket, threading
            l = socket.create_server(('::', 7777), family=socket.AF_INET6)
            print('listening', flush=True)
            def serve(s):
                f = s.makefile('rw')
                for line in f: f.write(line); f.flush()
                s.close()
            while True: threading.Thread(target=serve, args=(l.accept()[0],), daemon=True).start()
            """

        private func serve(in pod: Pod) throws -> LabProcess {
            let server = try pod.spawn(["python3", "-c", Self.server])
            try waitUntil("server", timeout: 5) { server.standardOutput.contains("listening") }
            return server
        }

        @Test(arguments: [true, false])
        func `a connection that is open at SIGTERM ends in its own time, whoever opened it`(_ isServer: Bool) throws {
            try withDrainingPair { mesh, a, b in
                let server = try serve(in: b)
                defer { server.stop() }
                let client = try a.spawn(["python3", "-c", Self.client, try mesh.virtualIPv6(of: b), "40"])
                try waitUntil("stream", timeout: 5) { client.standardOutput.contains("5\n") }
                let process = try mesh.sidecar(of: isServer ? b : a)
                let start = Clock.now
                process.signal(SIGTERM)
                #expect(try client.wait(timeout: 15) == 0, "\(client.standardError)")
                #expect(client.standardOutput.hasSuffix("39\ndone\n"))
                let streamed = Clock.now - start
                #expect(streamed > 2)
                #expect(try process.wait(timeout: 5) == 0)
                // Once all is closed there is nothing to wait for.
                #expect(Clock.now - start - streamed < 2)
                figure(
                    "drain",
                    "stream of \(fixed(streamed, 2)) s kept; ended \(fixed(Clock.now - start - streamed, 2)) s after it"
                )
            }
        }

        @Test func `with nothing to carry it ends at once, and nobody new is led to it`() throws {
            try withDrainingPair { mesh, a, b in
                let stranger = try mesh.addPod("pod-c", site: Plan.siteA)
                try mesh.startSidecar(stranger, token: try mesh.token("--name", "pod-c"))
                try mesh.waitReady(stranger)
                #expect(try mesh.warren("whois", try mesh.virtualIPv6(of: b), in: stranger).succeeded)
                usleep(500_000)
                let process = try mesh.sidecar(of: b)
                let start = Clock.now
                process.signal(SIGTERM)
                #expect(try process.wait(timeout: 5) == 0)
                let seconds = Clock.now - start
                #expect(seconds < 1)
                figure("idle SIGTERM", "ended after \(fixed(seconds, 3)) s")
                // The record is gone, not the membership: the same agent is back with what it has.
                let fresh = try mesh.addPod("pod-d", site: Plan.siteA)
                try mesh.startSidecar(fresh, token: try mesh.token("--name", "pod-d"))
                try mesh.waitReady(fresh)
                #expect(!(try mesh.warren("whois", try mesh.virtualIPv6(of: b), in: fresh).succeeded))
                try mesh.startSidecar(b, options: Self.options)
                try mesh.waitReady(b)
                #expect(try fresh.ping(try mesh.virtualIPv6(of: b), count: 5).lost == 0)
            }
        }

        @Test func `the grace is the longest that is waited, and a second SIGTERM ends the wait`() throws {
            try withDrainingPair { mesh, a, b in
                let server = try serve(in: b)
                defer { server.stop() }
                let client = try a.spawn(["python3", "-c", Self.client, try mesh.virtualIPv6(of: b), "1000"])
                defer { client.stop() }
                try waitUntil("stream", timeout: 5) { client.standardOutput.contains("5\n") }
                let process = try mesh.sidecar(of: a)
                process.signal(SIGTERM)
                usleep(1_500_000)
                #expect(process.isRunning)
                #expect(try mesh.warren("ready", in: a).text.contains("ending"))
                process.signal(SIGTERM)
                #expect(try process.wait(timeout: 2) == 0)

                let other = try mesh.startSidecar(a, options: ["--drain", "2"])
                try mesh.waitReady(a)
                let second = try a.spawn(["python3", "-c", Self.client, try mesh.virtualIPv6(of: b), "1000"])
                defer { second.stop() }
                try waitUntil("stream", timeout: 10) { second.standardOutput.contains("5\n") }
                let start = Clock.now
                other.signal(SIGTERM)
                #expect(try other.wait(timeout: 6) == 0)
                #expect((1.8...3.5).contains(Clock.now - start))
                // The peer's waits for the same stream, whose other end is gone.
                let last = try mesh.sidecar(of: b)
                last.signal(SIGTERM)
                usleep(300_000)
                last.signal(SIGTERM)
                #expect(try last.wait(timeout: 3) == 0)
            }
        }

        @Test(.timeLimit(.minutes(3)))
        func `a stuck packet thread is noticed, an idle one and a dead hub are not`() throws {
            try withDrainingPair { mesh, a, b in
                func livez() throws -> String {
                    let code = try a.run(
                        "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "8",
                        "http://127.0.0.1:\(Self.port)/livez")
                    return try "\(code) \(mesh.warren("live", in: a).succeeded)"
                }
                #expect(try livez() == "200 true")
                try mesh.stopHub(signal: SIGKILL)
                #expect(try livez() == "200 true")
                let process = try mesh.sidecar(of: a)
                let id = try #require(
                    StoppedThread.id(named: "wg-out", of: process.pid)
                        ?? StoppedThread.id(named: "wg-in", of: process.pid))
                let stopped = try StoppedThread(id)
                // What is not asked to do anything is not stuck.
                usleep(200_000)
                #expect(try livez() == "200 true")
                _ = try? a.result(of: ["ping", "-c", "2", "-i", "0.2", "-W", "1", try mesh.virtualIPv6(of: b)])
                let start = Clock.now
                #expect(try livez() == "503 false")
                figure("stuck thread", "noticed after \(fixed((Clock.now - start) / 2, 2)) s of watching")
                stopped.release()
                try waitUntil("alive again", timeout: 5) { try livez() == "200 true" }
                // The whole process: nobody answers, which a probe takes for a failure.
                process.signal(SIGSTOP)
                let silent = try a.result(
                    of: ["curl", "-s", "--max-time", "2", "http://127.0.0.1:\(Self.port)/livez"])
                process.signal(SIGCONT)
                #expect(!silent.succeeded)
            }
        }

        @Test func `from its start to ready a sidecar adds at most 300 ms`() throws {
            try withMesh { mesh in
                try mesh.startHub()
                let pod = try mesh.addPod("pod-a", site: Plan.siteA)
                var seconds: [Double] = []
                for round in 0..<5 {
                    let token = round == 0 ? try mesh.token("--name", "pod-a") : nil
                    try mesh.startSidecar(pod, token: token, options: Self.options)
                    try mesh.waitReady(pod)
                    let page = try ExpositionText(
                        try pod.run("curl", "-s", "--max-time", "5", "http://127.0.0.1:\(Self.port)/metrics"))
                    seconds.append(try #require(page.value("warren_start_ready_seconds")))
                    try mesh.killSidecar(pod)
                }
                let sorted = seconds.sorted()
                figure(
                    "process start to ready",
                    "\(sorted.map { fixed($0, 3) }.joined(separator: " ")) s, median \(fixed(sorted[2], 3)) s")
                #expect(sorted[2] <= 0.3)
            }
        }
    }
}
