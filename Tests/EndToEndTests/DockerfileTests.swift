import Foundation
import Lab
import Testing

extension EndToEnd {
    /// The Dockerfile, as far as it can be judged without a container engine: what it copies exists, what it builds is
    /// ours, what it installs is in Debian, and what the programs link to is in the final image. It is not built here.
    @Suite struct DockerfileTests {
        private struct Instruction {
            let name: String
            let arguments: String
        }

        private static let instructions: [Instruction] = {
            let joined = Repository.text("Dockerfile").replacingOccurrences(of: "\\\n", with: " ")
            return joined.split(separator: "\n").filter { !$0.hasPrefix("#") }.map { line in
                let words = line.split(separator: " ", maxSplits: 1)
                return Instruction(name: String(words[0]), arguments: words.count > 1 ? String(words[1]) : "")
            }
        }()

        @Test func `it has a build stage and a slim stage that runs as the reserved uid`() throws {
            let known: Set = ["FROM", "RUN", "WORKDIR", "COPY", "USER", "CMD"]
            #expect(Set(Self.instructions.map(\.name)).isSubset(of: known))
            let stages = Self.instructions.filter { $0.name == "FROM" }.map(\.arguments)
            #expect(stages == ["swift:6.3-bookworm AS build", "debian:bookworm-slim"])
            let last = try #require(Self.instructions.lastIndex { $0.name == "FROM" })
            let user = Self.instructions[last...].first { $0.name == "USER" }?.arguments
            #expect(user == "\(Plan.sidecarUID):\(Plan.sidecarUID)")
            #expect(!Self.instructions[last...].drop { $0.name != "USER" }.contains { $0.name == "RUN" })
        }

        @Test func `what it copies exists, and is all that the package needs`() throws {
            var copied: [String] = []
            for copy in Self.instructions where copy.name == "COPY" && !copy.arguments.hasPrefix("--from=") {
                for source in copy.arguments.split(separator: " ").dropLast() {
                    #expect(Repository.exists(String(source)), "\(source)")
                    copied.append(String(source))
                }
            }
            #expect(Set(copied) == ["Package.swift", "Benchmarks", "Sources", "Tests", ".ci/cni-static"])
        }

        @Test func `the shell accepts its RUN lines`() throws {
            for run in Self.instructions where run.name == "RUN" {
                let output = try Repository.result(of: ["sh", "-n"], input: run.arguments)
                #expect(output.status == 0, "\(output.text)")
            }
        }

        @Test func `it builds exactly the programs that Package.swift declares`() throws {
            let build = try #require(Self.instructions.first { $0.arguments.contains("for product in") })
            let list = try #require(build.arguments.split(separator: ";").first)
            let products = Set(list.split(separator: " ").dropFirst(3).map(String.init))
            #expect(products == Set(Programs.shipped))
            let declared = Repository.text("Package.swift").filter { !$0.isWhitespace }
            for product in products {
                #expect(declared.contains("program(\"\(product)\"") || declared.contains("[\"\(product)\"]"))
                #expect(isExecutable("\(try Programs.folder())/\(product)"))
            }
        }

        @Test func `its packages are Debian's, and hold every library that the programs load`() throws {
            let stages = Self.instructions.filter { $0.arguments.contains("apt-get install") }.map(Self.packages)
            #expect(stages.count == 2)
            for package in stages.flatMap({ $0 }) {
                let found = try Repository.result(of: ["dpkg-query", "-W", "-f", "${db:Status-Status}", package])
                #expect(found.standardOutput == "installed", "\(package) is not what this machine builds with")
            }
            // In every Debian image; the Swift runtime is linked in.
            let base = ["libc6", "libgcc-s1", "libstdc++6", "zlib1g"]
            let final = Set(try #require(stages.last) + base)
            for program in Programs.shipped {
                for library in try Self.systemLibraries(of: "\(try Programs.folder())/\(program)") {
                    #expect(final.contains(try Self.package(of: library)), "\(program) loads \(library)")
                }
            }
        }

        private static func packages(_ run: Instruction) -> [String] {
            let words = run.arguments.split(whereSeparator: \.isWhitespace).map(String.init)
            guard let install = words.firstIndex(of: "install") else { return [] }
            return words[(install + 1)...].prefix { $0 != "&&" }.filter { !$0.hasPrefix("-") }
        }

        /// The libraries outside the toolchain, as paths without links.
        private static func systemLibraries(of program: String) throws -> [String] {
            let text = try Repository.result(of: ["ldd", program]).standardOutput
            return text.split(separator: "\n").compactMap { line in
                let words = line.split(separator: " ")
                guard words.count >= 3, words[1] == "=>" else { return nil }
                let path = URL(fileURLWithPath: String(words[2])).resolvingSymlinksInPath().path
                return path.hasPrefix("/usr/lib/") || path.hasPrefix("/lib/") ? path : nil
            }
        }

        /// The Debian package that holds a file.
        private static func package(of file: String) throws -> String {
            // dpkg knows some files by their name before /usr was merged.
            let short = file.hasPrefix("/usr") ? String(file.dropFirst(4)) : file
            let output = try Repository.result(of: ["dpkg-query", "-S", file, short])
            return String(output.standardOutput.prefix { $0 != ":" })
        }
    }
}
