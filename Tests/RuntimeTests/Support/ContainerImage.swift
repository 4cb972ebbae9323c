import Foundation
import Lab

/// The one image of these tests, from nothing: a static busybox, a page to serve, and with the libraries that they load
/// the sidecar's programs and curl. Built by podman in the node's memory.
enum ContainerImage {
    static let name = "localhost/warren:1"
    static let page = "a page over the mesh\n"
    static let pagePort = 8080
    private static let folder = "\(Node.folder)/image"

    /// - Parameters:
    ///   - programs: whether the sidecar's programs are to be in it.
    ///   - archive: a file for other runtimes to import.
    static func build(on node: Node, programs: Bool = true, archive: String? = nil) throws {
        let root = "\(node.root)\(folder)"
        try node.run("mkdir", "-p", "\(folder)/bin", "\(folder)/www")
        try node.sandbox.run("install", "-m", "0755", "/bin/busybox", "\(root)/bin/busybox")
        try node.write(page, to: "\(folder)/www/page")
        let sources = ["\(node.image.folder)/warrend", "\(node.image.folder)/warren", "/usr/bin/curl"]
        for source in programs ? sources : [] {
            let program = source.split(separator: "/").last ?? ""
            try node.sandbox.run("install", "-m", "0755", source, "\(root)/bin/\(program)")
            for library in try libraries(of: source, node) {
                try node.sandbox.run("install", "-D", "-m", "0755", library, "\(root)\(target(library))")
            }
        }
        let instructions = """
            FROM scratch
            COPY . /
            CMD ["/bin/busybox", "sleep", "1000000"]
            """
        try node.write(instructions, to: "\(Node.folder)/Containerfile")
        try node.run("podman", "build", "-q", "-t", name, "-f", "\(Node.folder)/Containerfile", folder)
        if let archive { try node.run("podman", "save", "-q", "-o", archive, name) }
    }

    /// Every shared library that the program loads, and the loader itself.
    private static func libraries(of program: String, _ node: Node) throws -> [String] {
        let text = try node.sandbox.result(
            of: ["ldd", program], environment: Image.environment(folder: node.image.folder)
        ).standardOutput
        return text.split(separator: "\n").compactMap { line in
            line.split(whereSeparator: \.isWhitespace).map(String.init).first { $0.hasPrefix("/") }
        }
    }

    /// Libraries from outside the system's folders go where the loader looks.
    private static func target(_ library: String) -> String {
        let isSystem = ["/lib/", "/lib64/", "/usr/lib/", "/usr/lib64/"].contains { library.hasPrefix($0) }
        return isSystem ? library : "/usr/lib/\(library.split(separator: "/").last ?? "")"
    }
}
