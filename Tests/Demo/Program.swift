import Foundation
import Glibc
import Lab

/// `warren-demo` runs the whole scenario; `warren-demo clean` removes what a kept or killed run left.
enum Program {
    static let name = "warren-demo"

    /// Returns the exit status.
    static func run(_ argument: String?) -> Int32 {
        let lines = Requirements.missing()
        guard lines.isEmpty else {
            for line in lines { complain(line) }
            return 1
        }
        switch argument {
        case nil: return demonstrate()
        case "clean":
            let removed = Sandbox.purge()
            print(removed.isEmpty ? "nothing to clean" : "removed \(removed.joined(separator: ", "))")
            return 0
        default:
            complain("unknown argument; say nothing for the demo, or `clean`")
            return 2
        }
    }

    private static func demonstrate() -> Int32 {
        let isKept = unsafe getenv("KEEP").map { unsafe String(cString: $0) } == "1"
        do {
            let sandbox = try Sandbox(name: name)
            Interruption.cleanUp {
                print("\ninterrupted: cleaning up")
                sandbox.tearDown()
            }
            defer { sandbox.tearDown() }
            return try Demonstration(in: sandbox, programs: Programs.folder(), isKept: isKept).run() ? 0 : 1
        } catch {
            complain("\(error)")
            return 1
        }
    }

    private static func complain(_ text: String) { FileHandle.standardError.write(Data("\(name): \(text)\n".utf8)) }
}
