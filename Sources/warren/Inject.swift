import ArgumentParser
import Glibc
import Injection
import InjectionArguments
import JSON
import Linux
import Manifest

extension Warren {
    /// `warren inject`: what the webhook does, on a file.
    struct Inject: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print a manifest with the sidecar in its pods.",
            discussion: """
                Pods, and the templates of Deployments, StatefulSets, DaemonSets, Jobs and CronJobs, get the sidecar that \
                the injector would add; all else stays as it is. Nothing is asked of a cluster: \
                warren inject -f app.yaml | kubectl apply -f -
                """)

        @Option(
            name: .shortAndLong, help: ArgumentHelp("A manifest in YAML or JSON; - for the input.", valueName: "file"))
        var file: String
        @Flag(help: "Print JSON: a List when there are several objects.") var json = false
        @OptionGroup(title: "Sidecar options") var sidecar: SidecarArguments

        func run() throws {
            let injection = SidecarInjection(try sidecar.settings())
            let documents: [JSONValue]
            do { documents = try ManifestStream.read(try read()) } catch let error as ManifestError {
                throw ValidationError("\(file): \(error)")
            }
            let objects = try documents.flatMap(PodTemplates.items).map { object in
                guard let (result, verdict) = injection.injecting(object) else { return object }
                let title = "\(object["kind"]?.text ?? "?")/\(object["metadata"]?["name"]?.text ?? "?")"
                for warning in verdict.warnings { writeErrorLine("warning: \(title): \(warning)") }
                switch verdict.outcome {
                case .refused(let message): throw ValidationError("\(title): \(message)")
                case .untouched(let reason): writeErrorLine("\(title) stays as it is: \(reason)")
                case .injected: break
                }
                return result
            }
            let list: JSONValue = ["apiVersion": "v1", "kind": "List", "items": .array(objects)]
            var output = json ? (objects.count == 1 ? objects[0] : list).page : try ManifestStream.yaml(objects)
            if !output.hasSuffix("\n") { output += "\n" }
            print(output, terminator: "")
        }

        private func read() throws -> [UInt8] {
            do {
                return try FileDescriptor(open: file == "-" ? "/dev/stdin" : file, O_RDONLY)
                    .readToEnd(limit: ManifestStream.sizeLimit)
            } catch { throw ValidationError("read \(file): \(error)") }
        }
    }
}
