/// A subcommand's words, taken apart: `--name VALUE`, `--name=VALUE`, flags, and operands.
///
/// By hand, because a library that finds options by reflection keeps some 4 MiB of the runtime's code and of every
/// linked module's metadata in the memory of each pod, for as long as the process lives.
struct Arguments {
    /// An option: how it is written, what stands for its value in the help (nil: a flag), and what it means.
    struct Option {
        let name: String
        let value: String?
        let help: String
        /// What it is when it isn't given.
        let fallback: String

        init(_ name: String, _ value: String? = nil, fallback: String = "", help: String) {
            self.name = name
            self.value = value
            self.help = help
            self.fallback = fallback
        }
    }

    /// What a command takes, and what a person is told about it.
    struct Usage {
        /// As it is called: `warrend sidecar`.
        let command: String
        let overview: String
        /// The words without options that it needs, in their order, with what they mean.
        let operands: [(name: String, help: String)]
        let options: [Option]
    }

    /// What is wrong with the words; `usage` says what would be right.
    struct Failure: Error {
        let text: String
        let usage: String
    }

    /// True when the words ask for help; the rest is not looked at then.
    private(set) var asksForHelp = false
    private(set) var operands: [String] = []
    private var given: [(name: String, value: String)] = []
    private let usage: Usage

    init(_ words: some Sequence<String>, of usage: Usage) throws(Failure) {
        self.usage = usage
        var rest = Array(words)[...]
        while let word = rest.popFirst() {
            if word == "--" {
                operands += rest
                break
            } else if word == "-h" || word == "--help" {
                asksForHelp = true
                return
            } else if word.hasPrefix("-"), word != "-" {
                try take(word, from: &rest)
            } else {
                operands.append(word)
            }
        }
        guard operands.count >= usage.operands.count else {
            throw failure("<\(usage.operands[operands.count].name)> is missing")
        }
        guard operands.count == usage.operands.count else {
            throw failure("\(operands[usage.operands.count]): one word too many")
        }
    }

    private mutating func take(_ word: String, from rest: inout ArraySlice<String>) throws(Failure) {
        let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        // `-f` is the first letter of a flag's name.
        let found = usage.options.first { option in
            parts[0] == "--\(option.name)" || option.value == nil && word == "-\(option.name.prefix(1))"
        }
        guard let option = found else { throw failure("\(parts[0]): no such option") }
        if option.value == nil {
            guard parts.count == 1 else { throw failure("\(parts[0]) takes no value") }
            given.append((option.name, ""))
        } else {
            guard let value = parts.count == 2 ? String(parts[1]) : rest.popFirst() else {
                throw failure("\(parts[0]) has no value")
            }
            given.append((option.name, value))
        }
    }

    func isGiven(_ name: String) -> Bool { given.contains { $0.name == name } }

    /// The option's value, the last where it is given more than once; its fallback where it isn't.
    func value(_ name: String) -> String { all(name).last ?? fallback(name) }

    /// All values of an option that may be repeated; its fallback, divided at commas, where it isn't given.
    func list(_ name: String) -> [String] {
        isGiven(name) ? all(name) : fallback(name).split(separator: ",").map(String.init)
    }

    func failure(_ text: String) -> Failure { Failure(text: text, usage: usage.line) }

    private func all(_ name: String) -> [String] { given.lazy.filter { $0.name == name }.map(\.value) }
    private func fallback(_ name: String) -> String { usage.options.first { $0.name == name }?.fallback ?? "" }
}

extension Arguments.Usage {
    var line: String {
        let words = options.map { option in "[--\(option.name)\(option.value.map { " \($0)" } ?? "")]" }
        return ([command] + words + operands.map { "<\($0.name)>" }).joined(separator: " ")
    }

    /// What --help prints.
    var text: String {
        var rows = operands.map { ("<\($0.name)>", $0.help) }
        for option in options {
            guard let value = option.value else {
                rows.append(("-\(option.name.prefix(1)), --\(option.name)", option.help))
                continue
            }
            let standard = option.fallback.isEmpty ? "" : " (default: \(option.fallback))"
            rows.append(("--\(option.name) \(value)", option.help + standard))
        }
        rows.append(("-h, --help", "Print this."))
        return (["\(overview)\n", "usage: \(line)\n"] + rows.map { "  \($0.0)\n        \($0.1)" })
            .joined(separator: "\n")
    }
}
