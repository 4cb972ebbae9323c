import Foundation
package import Glibc

/// The file's text; empty when it cannot be read.
package func readText(_ path: String) -> String {
    guard let data = FileManager.default.contents(atPath: path) else { return "" }
    return String(decoding: data, as: UTF8.self)
}

/// Writes `text`, replacing the file, with permission bits `mode` and an optional owner.
package func writeText(_ text: String, to path: String, mode: mode_t = 0o644, owner: UInt32? = nil) throws(LabError) {
    let written = FileManager.default.createFile(
        atPath: path, contents: Data(text.utf8), attributes: [.posixPermissions: Int(mode)])
    guard written else { throw .system("write \(path)", errno: errno) }
    try setOwner(owner, of: path)
}

/// Makes a folder whose parent exists.
package func makeFolder(_ path: String, mode: mode_t = 0o755, owner: UInt32? = nil) throws(LabError) {
    guard unsafe mkdir(path, mode) == 0 else { throw .system("make folder \(path)", errno: errno) }
    guard unsafe chmod(path, mode) == 0 else { throw .system("set mode of \(path)", errno: errno) }
    try setOwner(owner, of: path)
}

private func setOwner(_ owner: UInt32?, of path: String) throws(LabError) {
    guard let owner else { return }
    guard unsafe chown(path, owner, owner) == 0 else { throw .system("set owner of \(path)", errno: errno) }
}

/// The names in a folder, sorted; empty when there is none.
package func names(in folder: String) -> [String] {
    ((try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []).sorted()
}

package func fileExists(_ path: String) -> Bool { unsafe access(path, F_OK) == 0 }

package func isExecutable(_ path: String) -> Bool { unsafe access(path, X_OK) == 0 }

/// Removes a file, if there is one.
package func removeFile(_ path: String) { _ = unsafe unlink(path) }
