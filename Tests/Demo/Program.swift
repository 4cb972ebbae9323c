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
        return inSandbox(named: name) { sandbox in
            try Demonstration(in: sandbox, programs: Programs.folder(), isKept: isKept).run()
        }
    }

    /// Runs `body`, which says whether all was well, and cleans up whatever happens.
    private static func inSandbox(named name: String, _ body: (Sandbox) throws -> Bool) -> Int32 {
        do {
            let sandbox = try Sandbox(name: name)
            Interruption.cleanUp {
                complain("interrupted: cleaning up")
                sandbox.tearDown()
            }
            defer { sandbox.tearDown() }
            return try body(sandbox) ? 0 : 1
        } catch {
            Interruption.waitIfInterrupted()
            complain("\(error)")
            return 1
        }
    }

    private static func complain(_ text: String) { FileHandle.standardError.write(Data("\(name): \(text)\n".utf8)) }
}
