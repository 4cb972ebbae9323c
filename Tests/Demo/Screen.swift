import Foundation
import Glibc
import Lab

/// Prints what happens, each step with the time since the start; coloured only on a terminal without NO_COLOR.
struct Screen {
    private let start = Clock.now
    private let isColoured = isatty(STDOUT_FILENO) == 1 && (unsafe getenv("NO_COLOR") == nil)

    /// Seconds since the start.
    var elapsed: Double { Clock.now - start }

    func title(_ text: String) { write("\n\(bold(text))\n") }

    /// A line with the elapsed time in front.
    func step(_ text: String) {
        let time = fixed(elapsed, 2)
        write("\(dim(String(repeating: " ", count: max(0, 6 - time.count)) + time + " s"))  \(text)\n")
    }

    /// Lines below a step.
    func detail(_ text: String) {
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) { write("          \(line)\n") }
    }

    func plain(_ text: String) { write(text + "\n") }

    func bold(_ text: String) -> String { styled(text, "1") }
    func dim(_ text: String) -> String { styled(text, "2") }
    func mark(_ isGood: Bool) -> String { isGood ? styled("ok", "32") : styled("FAILED", "1;31") }

    private func styled(_ text: String, _ code: String) -> String {
        isColoured ? "\u{1B}[\(code)m\(text)\u{1B}[0m" : text
    }

    private func write(_ text: String) { FileHandle.standardOutput.write(Data(text.utf8)) }
}
