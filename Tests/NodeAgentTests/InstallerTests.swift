import Glibc
import Linux
import Synchronization
import TestSupport
import Testing
import Timing

@testable import NodeAgent

/// The installer against folders of its own, with the plugin as built.
@Suite struct InstallerTests {
    private func isInstalled(_ outcome: Installer.Outcome, _ file: String) -> Bool {
        if case .installed(let path, _, _) = outcome { path.hasSuffix("/\(file)") } else { false }
    }

    @Test func `it waits for a primary plugin, installs the binary, and is never the first`() throws {
        let node = try ScratchNode()
        let installer = Installer(node.configuration)
        guard case .waiting = installer.ensure(now: .zero) else { return #expect(Bool(false), "did not wait") }
        #expect(node.folder.names("net.d").isEmpty)
        #expect(try node.hasPlugin() && node.folder.mode("bin/warren-cni") == 0o755)
        try node.folder.write(#"{"name":"a","plugins":[{"type":"warren-cni"}]}"#, to: "net.d/00-alone.conflist")
        guard case .waiting = installer.ensure(now: .zero) else { return #expect(Bool(false), "did not wait") }
        node.folder.remove("net.d/00-alone.conflist")
        try node.folder.write(ScratchNode.ptp, to: "net.d/10-ptp.conflist", mode: 0o640)
        #expect(isInstalled(installer.ensure(now: .zero), "10-ptp.conflist"))
        #expect(node.types("10-ptp.conflist") == ["ptp", "portmap", "warren-cni"])
        #expect(node.folder.mode("net.d/10-ptp.conflist") == 0o640)
        #expect(node.folder.names("net.d") == ["10-ptp.conflist"] && node.folder.names("bin") == ["warren-cni"])
        let text = node.conf("10-ptp.conflist")
        let again = installer.ensure(now: .zero)
        #expect(
            again == .installed(file: node.folder.path + "/net.d/10-ptp.conflist", network: "pods", inserted: false))
        #expect(node.conf("10-ptp.conflist") == text)
    }

    @Test func `a plugin that does not run changes neither binary nor configuration`() throws {
        let broken = try ScratchFolder()
        try broken.write("#!/bin/sh\necho '{}'\n", to: "warren-cni", mode: 0o755)
        let node = try ScratchNode(plugin: broken.path + "/warren-cni")
        try node.folder.write(ScratchNode.ptp, to: "net.d/10-ptp.conflist")
        try node.folder.write("older", to: "bin/warren-cni", mode: 0o755)
        guard case .failed(let text) = Installer(node.configuration).ensure(now: .zero) else {
            return #expect(Bool(false), "did not fail")
        }
        #expect(text.contains("VERSION: status 0, versions []"))
        #expect(node.conf("10-ptp.conflist") == ScratchNode.ptp && node.folder.read("bin/warren-cni") == "older")
        #expect(node.folder.names("bin") == ["warren-cni"])
    }

    @Test func `a plugin in use is exchanged, and the running one ends undisturbed`() throws {
        let node = try ScratchNode()
        try Program.run("cp \(node.configuration.plugin) \(node.folder.path)/bin/warren-cni")
        // A byte more, so that it is another binary that runs just as well.
        try node.folder.append([0], to: "bin/warren-cni")
        // It waits for its stdin.
        let running = try Program(
            [node.folder.path + "/bin/warren-cni"],
            environment: [
                "CNI_COMMAND": "DEL", "CNI_CONTAINERID": "a", "CNI_IFNAME": "eth0", "CNI_PATH": "/x",
            ])
        guard case .waiting = Installer(node.configuration).ensure(now: .zero) else {
            return #expect(Bool(false), "did not wait")
        }
        #expect(try node.hasPlugin())
        try running.write(
            #"{"cniVersion":"1.0.0","name":"n","type":"warren-cni","dataDir":"\#(node.folder.path)/run/cni"}"#)
        running.closeInput()
        #expect(try running.status() == 0)
    }

    @Test func `a single plugin's file is wrapped, and is what it was after the withdrawal`() throws {
        let node = try ScratchNode()
        let conf = "{ \"cniVersion\": \"0.3.1\", \"name\": \"old\", \"type\": \"bridge\", \"mtu\": 1.50 }\n"
        try node.folder.write(conf, to: "net.d/10-old.conf", mode: 0o600)
        let installer = Installer(node.configuration)
        #expect(isInstalled(installer.ensure(now: .zero), "10-old.conflist"))
        #expect(node.folder.names("net.d") == ["10-old.conf.bak", "10-old.conflist"])
        #expect(
            node.types("10-old.conflist") == ["bridge", "warren-cni"]
                && node.folder.mode("net.d/10-old.conflist") == 0o600)
        #expect(isInstalled(installer.ensure(now: .zero), "10-old.conflist"))
        #expect(try installer.withdraw() == ["10-old.conflist"])
        #expect(node.folder.names("net.d") == ["10-old.conf"] && node.conf("10-old.conf") == conf)
        #expect(installer.ensure(now: .zero) == .withdrawn)
    }

    @Test func `a list beside the single plugin's file that is not ours is left alone`() throws {
        let node = try ScratchNode()
        try node.folder.write(#"{"name":"old","type":"bridge"}"#, to: "net.d/10-old.conf")
        try node.folder.write(ScratchNode.ptp, to: "net.d/10-old.conflist")
        guard case .failed(let text) = Installer(node.configuration).ensure(now: .zero) else {
            return #expect(Bool(false), "did not fail")
        }
        #expect(text.contains("exists and is not ours") && node.conf("10-old.conflist") == ScratchNode.ptp)
    }

    @Test func `a truncated file is waited for, and another one only taken when it stays so`() throws {
        let node = try ScratchNode()
        let installer = Installer(node.configuration)
        try node.folder.write(String(ScratchNode.ptp.prefix(60)), to: "net.d/05-new.conflist")
        try node.folder.write(ScratchNode.ptp, to: "net.d/10-ptp.conflist")
        guard case .waiting(let text) = installer.ensure(now: .zero) else {
            return #expect(Bool(false), "did not wait")
        }
        #expect(text.contains("05-new.conflist not a JSON object"))
        #expect(node.conf("10-ptp.conflist") == ScratchNode.ptp)
        #expect(isInstalled(installer.ensure(now: .seconds(6)), "10-ptp.conflist"))
        // The writer came to its end after all: the entry moves, and is nowhere twice.
        try node.folder.write(ScratchNode.ptp, to: "net.d/05-new.conflist")
        #expect(isInstalled(installer.ensure(now: .seconds(7)), "05-new.conflist"))
        #expect(node.types("05-new.conflist")?.last == "warren-cni" && node.conf("10-ptp.conflist") == ScratchNode.ptp)
    }

    @Test func `a renamed file is followed, and a named one preferred`() throws {
        let node = try ScratchNode()
        try node.folder.write(ScratchNode.ptp, to: "net.d/10-ptp.conflist")
        let installer = Installer(node.configuration)
        #expect(isInstalled(installer.ensure(now: .zero), "10-ptp.conflist"))
        node.folder.rename("net.d/10-ptp.conflist", to: "net.d/10-ptp.conflist.cilium_bak")
        try node.folder.write(#"{"name":"c","plugins":[{"type":"cilium-cni"}]}"#, to: "net.d/05-cilium.conflist")
        #expect(isInstalled(installer.ensure(now: .zero), "05-cilium.conflist"))
        try node.folder.write(#"{"name":"m","type":"multus"}"#, to: "net.d/00-multus.conf")
        var configuration = node.configuration
        configuration.confName = "05-cilium.conflist"
        #expect(isInstalled(Installer(configuration).ensure(now: .zero), "05-cilium.conflist"))
        #expect(node.conf("00-multus.conf") != nil)
    }

    @Test func `who keeps taking the entry out gets five answers a minute and a name`() throws {
        let node = try ScratchNode()
        let cilium = #"{"cniVersion":"0.3.1","name":"cilium","plugins":[{"type":"cilium-cni"}]}"#
        let installer = Installer(node.configuration)
        var outcomes: [Installer.Outcome] = []
        for second in 0..<10 {
            try node.folder.write(cilium, to: "net.d/05-cilium.conflist")
            outcomes.append(installer.ensure(now: .seconds(UInt64(second))))
        }
        #expect(outcomes.prefix(5).allSatisfy { isInstalled($0, "05-cilium.conflist") })
        guard case .conflict(let text) = outcomes[5], case .conflict = outcomes[9] else {
            return #expect(Bool(false), "no conflict")
        }
        #expect(text.contains("trying again in 60 s") && text.contains("cni.exclusive=false"))
        #expect(node.conf("05-cilium.conflist") == cilium)
        #expect(isInstalled(installer.ensure(now: .seconds(65)), "05-cilium.conflist"))
    }

    /// A process of its own for each, ended by SIGKILL right after the step.
    @Test(arguments: Installer.Step.allCases, ["10-old.conf", "10-ptp.conflist"])
    func `killed after any step the node works, and the next start completes`(step: Installer.Step, name: String)
        async throws
    {
        let node = try ScratchNode()
        let conf = name.hasSuffix(".conf") ? "{\"name\":\"old\",\"type\":\"bridge\"}\n" : ScratchNode.ptp
        if step == .backedUp && name.hasSuffix(".conflist") { return }
        try node.folder.write(conf, to: "net.d/\(name)")
        let (raw, root, plugin) = (step.rawValue, node.folder.path, node.configuration.plugin)
        let entry = node.configuration.entry
        await #expect(processExitsWith: .signal(SIGKILL)) {
            [raw = raw as String, root = root as String, plugin = plugin as String, entry = entry as String] in
            let configuration = NodeConfiguration(
                plugin: plugin, binFolder: root + "/bin", confFolder: root + "/net.d", stateFolder: root + "/run",
                entry: entry)
            _ = Installer(configuration) { if $0.rawValue == raw { _ = kill(getpid(), SIGKILL) } }.ensure(now: .zero)
        }
        // What a runtime sees now: the first file by name can be read, and a plugin that it names is there and runs.
        let files = try ConfFolder(path: node.configuration.confFolder).files()
        let first = try #require(files.first)
        let list = try first.list.get()
        #expect(list.hasPrimary)
        if list.hasEntry { #expect(try node.hasPlugin()) }
        #expect(files.allSatisfy { (try? $0.list.get()) != nil })
        let installer = Installer(node.configuration)
        guard case .installed = installer.ensure(now: .zero) else { return #expect(Bool(false), "not completed") }
        let target = name.hasSuffix(".conf") ? "10-old.conflist" : name
        #expect(node.types(target)?.last == "warren-cni")
        #expect(try node.hasPlugin())
        #expect(node.folder.names("bin") == ["warren-cni"])
        #expect(node.folder.names("net.d") == (name.hasSuffix(".conf") ? ["10-old.conf.bak", target] : [target]))
    }
}
