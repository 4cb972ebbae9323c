import Glibc
import Linux

/// The frame around the verbs: environment, stdin, versions and how errors are told, so that a plugin is its verbs.
package enum Skeleton {
    package static let about = "CNI plugin warren-cni: private, encrypted addresses for agent pods"
    /// A configuration is a few KiB; the limit keeps a runaway writer from filling memory.
    package static let inputLimit = 1 << 20

    /// What the process says: stdout is always JSON or empty.
    package struct Response: Sendable {
        package var output: [UInt8] = []
        package var diagnostics = ""
        package var status: Int32 = 0
        /// What ADD made, to be taken back should nobody read of it.
        package var attachment: Attachment?
    }

    /// The program: answers one call and exits. It has one thread, which visits the pod's namespace itself.
    package static func main() -> Never {
        prepareProcess()
        var environment: [String: String] = [:]
        for name in Invocation.variables {
            if let value = unsafe getenv(name) { environment[name] = unsafe String(cString: value) }
        }
        let input = FileDescriptor(owning: 0)
        var response = respond(environment: environment) { () throws(CNIError) in try read(input) }
        let output = FileDescriptor(owning: 1)
        do throws(SystemError) { try output.writeAll(response.output) } catch {
            response.diagnostics += "write result to stdout: \(error)\n"
            response.status = 1
            for fault in (try? response.attachment?.delete()) ?? [] { response.diagnostics += "\(fault)\n" }
        }
        try? FileDescriptor(owning: 2).writeAll(Array(response.diagnostics.utf8))
        exit(response.status)
    }

    /// Answers one call.
    ///
    /// - Parameters:
    ///   - environment: the CNI_* variables.
    ///   - input: reads stdin; not called when there is nothing to read it for.
    package static func respond(
        environment: [String: String], input: () throws(CNIError) -> [UInt8]
    ) -> Response {
        var spoken = CNIVersion.newest
        var details = ""
        do throws(CNIError) {
            guard let invocation = try Invocation(environment: environment) else {
                return Response(diagnostics: "\(about)\nCNI protocol versions supported: \(CNIVersion.list)\n")
            }
            if invocation.command == .version { return version(try? input()) }
            details = invocation.subject
            let conf = try NetConf(parsing: input())
            spoken = try CNIVersion(supported: conf.cniVersion)
            let command = invocation.command
            guard spoken >= command.since else {
                throw .incompatibleVersion(
                    "\(command.rawValue): cniVersion \(spoken.rawValue) has no such command, \(command.since.rawValue) has"
                )
            }
            _ = try conf.networkName()
            let attachment = Attachment(invocation, conf, version: spoken)
            switch command {
            case .add: return Response(output: try attachment.add().serialized(), attachment: attachment)
            case .check: try attachment.check()
            case .delete: return Response(diagnostics: try attachment.delete().map { "\($0)\n" }.joined())
            case .collectGarbage: try Network(invocation, conf).collectGarbage()
            case .status: try Network(invocation, conf).status()
            case .version: break
            }
            return Response()
        } catch {
            let output = error.json(version: spoken.rawValue, details: details).serialized()
            return Response(output: output, status: 1)
        }
    }

    private static func read(_ input: borrowing FileDescriptor) throws(CNIError) -> [UInt8] {
        do throws(SystemError) { return try input.readToEnd(limit: inputLimit) } catch {
            if error.errno.code == EFBIG {
                throw .undecodable("read configuration from stdin: longer than \(inputLimit) bytes")
            }
            throw .inputOutput("read configuration from stdin: \(error)")
        }
    }

    /// VERSION repeats the caller's version where it can and never fails: runtimes send it with a dummy environment.
    private static func version(_ input: [UInt8]?) -> Response {
        let text = input.flatMap { try? JSONValue(parsing: $0) }?["cniVersion"]?.text
        let asked = text.flatMap { $0.isEmpty ? nil : $0 }
        let answer = JSONValue.object([
            "cniVersion": .string(asked ?? CNIVersion.newest.rawValue),
            "supportedVersions": .array(CNIVersion.allCases.map { .string($0.rawValue) }),
        ])
        return Response(output: answer.serialized())
    }

    /// Forgets what a runtime leaks into its children: descriptors above 2, folder and file mode mask. Runtimes may
    /// also start us without one of the first three; a file opened later must not become our stdout.
    private static func prepareProcess() {
        while true {
            let descriptor = unsafe Glibc.open("/dev/null", O_RDWR)
            if descriptor < 0 || descriptor > 2 { break }
        }
        closefrom(3)
        _ = unsafe chdir("/")
        umask(0o022)
        _ = signal(SIGPIPE, SIG_IGN)
    }
}
