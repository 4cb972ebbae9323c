import Control
import Glibc
import Lab

/// The whole way through, live: two pods behind two NATs, one encrypted tunnel, unmodified programs.
final class Demonstration {
    let screen = Screen()
    let sandbox: Sandbox
    let mesh: Mesh
    let isKept: Bool
    var summary = Summary()

    init(in sandbox: Sandbox, programs: String, isKept: Bool) throws {
        self.sandbox = sandbox
        self.isKept = isKept
        screen.title("Warren: two pods behind two NATs, one encrypted tunnel")
        screen.detail(Self.facts(programs))
        mesh = try Mesh(in: sandbox, programs: programs)
    }

    /// Runs every part; true when every row of the summary is good.
    func run() throws -> Bool {
        let pair = try buildMesh()
        try showMembers(pair.a, pair.b)
        try meet(pair.a, pair.b)
        try useIt(pair.a, pair.b)
        try searchTheWire(pair.a, pair.b)
        try breakIt(pair.a, pair.b)
        if isKept {
            summary.print(on: screen)
            explainHowToPlay(pair.a, pair.b)
            sandbox.keep()
        } else {
            let faults = mesh.tearDown()
            faults.forEach { screen.detail($0) }
            summary.add(
                "clean machine", faults.isEmpty ? "nothing left" : "\(faults.count) faults", bar: "nothing left",
                faults.isEmpty)
            summary.print(on: screen)
        }
        screen.plain("\n\(summary.isGood ? "all good" : "some rows failed") after \(seconds(screen.elapsed))")
        return summary.isGood
    }

    // MARK: - Building

    private func buildMesh() throws -> (a: Pod, b: Pod) {
        screen.title("The network")
        screen.detail(Self.picture)
        let leaks = try mesh.underlay.leaks()
        screen.step("from the hub and the Internet's router no pod can be reached \(screen.mark(leaks.isEmpty))")
        leaks.forEach { screen.detail($0) }
        summary.add(
            "pods are behind NATs", leaks.isEmpty ? "no route to 10.1.0.2, 10.2.0.2" : leaks[0], bar: "no route",
            leaks.isEmpty)

        screen.title("The mesh")
        try mesh.startHub()
        screen.step("warren-hub is up at \(Plan.hub): authority, directory and relay, as uid \(Plan.hubUID)")
        let before = Clock.now
        let pair = (a: try mesh.addPod("pod-a", site: Plan.siteA), b: try mesh.addPod("pod-b", site: Plan.siteB))
        screen.step(
            "warren-cni ADD for both pods, as a runtime calls it (\(seconds(Clock.now - before)) with the pods)")
        for pod in [pair.a, pair.b] {
            let attachment = try mesh.attachment(of: pod)
            screen.detail(
                "CNI_COMMAND=ADD CNI_IFNAME=eth0 CNI_NETNS=\(pod.namespace.path)\n"
                    + "  → \(Plan.interface) \(attachment.ipv6)  \(attachment.ipv4 ?? "")")
        }
        try startSidecars(pair.a, pair.b)
        return pair
    }

    private func startSidecars(_ a: Pod, _ b: Pod) throws {
        let start = Clock.now
        for pod in [a, b] { try mesh.startSidecar(pod, token: try mesh.token("--name", pod.name)) }
        var slowest = 0.0
        for pod in [a, b] {
            try mesh.waitReady(pod)
            slowest = Clock.now - start
            let privilege = try Privilege(of: try mesh.sidecar(of: pod).pid)
            screen.step("\(pod.name): warrend ready after \(seconds(slowest)); \(privilege)")
            summary.add(
                "privilege of \(pod.name)'s sidecar", "\(privilege)", bar: "uid not 0, CapEff 0, NoNewPrivs 1",
                privilege.isNone)
        }
        summary.add("both sidecars ready", seconds(slowest), bar: "≤ 5 s", slowest <= 5)
    }

    private func showMembers(_ a: Pod, _ b: Pod) throws {
        screen.title("Who is who")
        var table = Table(header: ["name", "agent id", "virtual addresses", "pod", "its NAT", "seen from outside as"])
        for pod in [a, b] {
            let status = try mesh.status(of: pod)
            table.add([
                status.name, String(status.id.prefix(16)) + "…", status.addresses.joined(separator: "  "), pod.address,
                "\(pod.site.router) \(pod.site.publicAddress)", status.mapped.joined(separator: " "),
            ])
        }
        table.lines.forEach { screen.detail($0) }
    }

    private static let picture = """
        pod-a ─── nat-a ─────────────── wan ─────────────── nat-b ─── pod-b
        10.1.0.2   203.0.113.11          │          198.51.100.12   10.2.0.2
                                  hub 203.0.113.1
        """

    private static func facts(_ programs: String) -> String {
        var name = utsname()
        _ = unsafe uname(&name)
        let kernel = unsafe withUnsafeBytes(of: name.release) { bytes in
            unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
        let build = unsafe getenv("WARREN_BUILD").map { unsafe String(cString: $0) } ?? "programs"
        return "\(build) from \(programs)\nLinux \(kernel), \(sysconf(Int32(_SC_NPROCESSORS_ONLN))) cores"
    }
}
