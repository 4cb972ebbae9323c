import Foundation
import Lab
import Testing

extension EndToEnd {
    /// The Dockerfile, as far as it can be judged without building it: what it copies exists, what it builds is ours, what it
    /// installs is in Debian. `make image-test` builds it, and the suite of shipped images judges its last stages in each run.
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

        @Test func `one stage builds, and two of nothing but files run as the reserved uid`() throws {
            let known: Set = ["ARG", "FROM", "RUN", "WORKDIR", "COPY", "ENV", "USER", "LABEL", "CMD"]
            #expect(Set(Self.instructions.map(\.name)).isSubset(of: known))
            let stages = Self.instructions.filter { $0.name == "FROM" }.map(\.arguments)
            #expect(stages == ["${BUILD_IMAGE} AS build", "scratch AS sidecar", "sidecar AS warren"])
            // The base by an exact version.
            let base = try #require(Self.instructions.first { $0.arguments.hasPrefix("BUILD_IMAGE=") }).arguments
            #expect(base.wholeMatch(of: /BUILD_IMAGE=docker.io\/library\/swift:\d+\.\d+\.\d+-bookworm/) != nil)
            let first = try #require(Self.instructions.firstIndex { $0.arguments == "scratch AS sidecar" })
            let last = Self.instructions[first...]
            #expect(!last.contains { $0.name == "RUN" })
            #expect(last.filter { $0.name == "USER" }.map(\.arguments) == ["\(Plan.sidecarUID):\(Plan.sidecarUID)"])
            for word in ["amd64", "x86_64", "aarch64"] {
                #expect(!Self.instructions.filter { $0.name != "LABEL" }.contains { $0.arguments.contains(word) })
            }
        }

        @Test func `what it copies exists, and is all that the package needs`() throws {
            var copied: [String] = []
            for copy in Self.instructions where copy.name == "COPY" && !copy.arguments.hasPrefix("--from=") {
                for source in copy.arguments.split(separator: " ").dropLast() {
                    #expect(Repository.exists(String(source)), "\(source)")
                    copied.append(String(source))
                }
            }
            #expect(Set(copied) == ["Package.swift", "Benchmarks", "Sources", "Tests", ".ci", "LICENSE"])
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

        @Test func `every dependency has one exact version`() {
            let lines = Repository.text("Package.swift").split(separator: "\n").filter { $0.contains(".package(url:") }
            #expect(lines.count >= 5)
            for line in lines { #expect(line.contains("exact: \""), "\(line)") }
        }

        @Test func `its packages are Debian's, and those that this tree is built with`() throws {
            let install = try #require(Self.instructions.first { $0.arguments.contains("apt-get install") })
            let words = install.arguments.split(whereSeparator: \.isWhitespace).map(String.init)
            let start = try #require(words.firstIndex(of: "install"))
            let packages = words[(start + 1)...].prefix { $0 != "&&" }.filter { !$0.hasPrefix("-") }
            #expect(packages.count > 5)
            let deps = Repository.text(".ci/deps")
            for package in packages where package.hasPrefix("lib") { #expect(deps.contains(package), "\(package)") }
            for package in packages {
                let found = try Repository.result(of: ["apt-cache", "show", package])
                #expect(found.status == 0, "\(package)")
            }
        }
    }
}
