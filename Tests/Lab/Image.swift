import Glibc

/// The programs under test with the libraries they need, in a folder that every uid may read: what a container image
/// would hold. (The build folder or the toolchain may lie under somebody's closed home folder.)
package struct Image: Sendable {
    package let folder: String

    /// - Parameter source: the build folder, `.build/release` or the like.
    package init(from source: String, in sandbox: Sandbox) throws {
        folder = sandbox.path("image")
        try makeFolder(folder)
        for program in Programs.needed {
            let path = "\(source)/\(program)"
            guard isExecutable(path) else {
                throw LabError.missing("\(path) is not built: run `make build` (or set WARREN_BIN_DIR)")
            }
            try sandbox.run("install", "-m", "0755", path, "\(folder)/\(program)")
            for library in try Self.foreignLibraries(of: path, sandbox) {
                try sandbox.run("install", "-m", "0644", library, folder)
            }
        }
    }

    /// Set for every program of the image.
    package static func environment(folder: String) -> [String: String] { ["LD_LIBRARY_PATH": folder] }

    /// Shared libraries from outside the system's folders: the toolchain's.
    private static func foreignLibraries(of program: String, _ sandbox: Sandbox) throws -> [String] {
        try sandbox.result(of: ["ldd", program]).standardOutput.split(separator: "\n").compactMap { line in
            let words = line.split(separator: " ")
            guard let arrow = words.firstIndex(of: "=>"), arrow + 1 < words.count else { return nil }
            let path = String(words[arrow + 1])
            let isOurs = path.hasPrefix("/") && !path.hasPrefix("/lib") && !path.hasPrefix("/usr/lib/x86_64")
            return isOurs && !path.hasPrefix("/usr/lib/aarch64") ? path : nil
        }
    }
}

/// The programs under test.
package enum Programs {
    package static let needed = ["warren-cni", "warren-hub", "warrend", "warren"]
    /// Those of the image: what runs beside an API server too.
    package static let shipped = needed + ["warren-injector", "warren-node"]

    /// `WARREN_BIN_DIR`, or the folder of the running executable or of its test bundle.
    package static func folder() throws -> String {
        if let given = unsafe getenv("WARREN_BIN_DIR") { return unsafe String(cString: given) }
        var candidates: [String] = []
        if let own = unsafe realpath("/proc/self/exe", nil) {
            candidates.append(unsafe String(cString: own))
            unsafe free(own)
        }
        candidates += CommandLine.arguments
        for candidate in candidates {
            let parts = candidate.split(separator: "/", omittingEmptySubsequences: false).dropLast()
            let folder = parts.joined(separator: "/")
            if isExecutable("\(folder)/warrend") { return folder }
        }
        throw LabError.missing("the programs are not next to this one: run `make build` or set WARREN_BIN_DIR")
    }
}
