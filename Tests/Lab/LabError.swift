/// Why a step of a scenario failed, in words for a person.
package enum LabError: Error, CustomStringConvertible {
    /// A command ended with another status than 0.
    case command([String], status: Int32, text: String)
    /// A condition did not come true in time.
    case timeout(String, seconds: Double)
    /// A system call failed; the text names operation and subject.
    case system(String, errno: Int32)
    /// A program that should run has ended; the text is what it said. Waiting for it is useless.
    case ended(String, text: String)
    /// A program printed what the scenario cannot read.
    case unexpected(String)
    /// The machine lacks something; the text says what to install or run.
    case missing(String)
    /// Everything was taken down already, or another run holds the same names.
    case busy(String)

    package var description: String {
        switch self {
        case .command(let words, let status, let text):
            "`\(words.joined(separator: " "))` ended with \(status): \(text)"
        case .timeout(let what, let seconds): "\(what): not within \(seconds) s"
        case .system(let operation, let errno): "\(operation): errno \(errno)"
        case .ended(let what, let text): "\(what) has ended: \(text)"
        case .unexpected(let text), .missing(let text), .busy(let text): text
        }
    }
}
