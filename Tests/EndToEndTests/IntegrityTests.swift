import Lab
import Testing

extension EndToEnd {
    /// `Benchmarks/integrity.py`, of which `make bench-integrity` runs more.
    @Suite struct Integrity {
        @Test func `what comes out of the tunnel is what went in, with every offload and with none`() throws {
            let sandbox = try Sandbox.unique()
            defer { sandbox.tearDown() }
            let folder = try Programs.folder()
            var environment = Image.environment(folder: folder)
            environment["WARREN_BIN_DIR"] = folder
            environment["QUICK"] = "1"
            environment["SIZE"] = "32"
            let script = "\(Repository.folder)/Benchmarks/integrity.py"
            let output = try sandbox.result(of: ["python3", script], environment: environment, timeout: 300)
            #expect(output.status == 0, "\(output.standardOutput)\(output.standardError)")
            #expect(output.standardOutput.contains("8 of 8 cells clean"))
            #expect(
                output.standardOutput.split(separator: "\n").count { $0.hasPrefix("mixed flows") && $0.hasSuffix("ok") }
                    == 2)
        }
    }
}
