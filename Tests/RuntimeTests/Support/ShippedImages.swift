import Foundation
import Lab

/// The two images of the Dockerfile, in a node's podman and containerd: from archives that `make image-test` built, in the
/// folder WARREN_IMAGE_ARCHIVES, else from the last stages of the Dockerfile upon the programs that are built already.
struct ShippedImages {
    static let sidecar = "localhost/warren-sidecar:test"
    static let warren = "localhost/warren:test"
    /// The bounds of what a node fetches, compressed as `podman push --compression-format zstd --compression-level 19` does.
    static let bounds = [sidecar: 20_000_000, warren: 60_000_000]
    static let programs = [
        sidecar: ["warren", "warren-cni", "warrend"],
        warren: ["warren", "warren-cni", "warren-hub", "warren-injector", "warren-node", "warrend"],
    ]

    let node: Node
    /// Whether the plugin is the static one, which only the Dockerfile's first stage builds.
    let isBuiltFromSource: Bool

    init(on node: Node) throws {
        self.node = node
        let archives = ProcessInfo.processInfo.environment["WARREN_IMAGE_ARCHIVES"]
        isBuiltFromSource = archives != nil
        try node.run("mkdir", "-p", "\(Node.folder)/shipped")
        for (target, name) in [("sidecar", Self.sidecar), ("warren", Self.warren)] {
            if let archives {
                // The node sees this machine's files but for what it keeps in memory.
                let loaded = try node.run("podman", "load", "-q", "-i", "\(archives)/\(target).tar", timeout: 120)
                guard let original = loaded.split(whereSeparator: \.isWhitespace).last else {
                    throw LabError.unexpected("podman load: \(loaded)")
                }
                try node.run("podman", "tag", String(original), name)
            } else {
                if target == "sidecar" { try assemble() }
                try node.run(
                    "podman", "build", "-q", "--target", target, "-t", name, "--build-arg", "VERSION=test", "-f",
                    "\(Node.folder)/shipped/Containerfile", "\(Node.folder)/shipped", timeout: 120)
            }
        }
    }

    /// Makes the context of the last stages.
    private func assemble() throws {
        let folder = "\(node.root)\(Node.folder)/shipped"
        let swift = try node.sandbox.run("\(Repository.folder)/.ci/find-swift", timeout: 60)
        try node.sandbox.run(
            "\(Repository.folder)/.ci/image-tree", Programs.folder(), "\(folder)/image", "test",
            swift.trimmingCharacters(in: .whitespacesAndNewlines), timeout: 120)
        let dockerfile = readText("\(Repository.folder)/Dockerfile")
        guard let start = dockerfile.range(of: "FROM scratch AS sidecar") else {
            throw LabError.unexpected("Dockerfile: no stage `FROM scratch AS sidecar`")
        }
        let stages = dockerfile[start.lowerBound...].replacingOccurrences(of: "--from=build /image", with: "image")
        try node.write(stages, to: "\(Node.folder)/shipped/Containerfile")
    }

    /// podman's own words on an image.
    func inspect(_ name: String) throws -> [String: Any] {
        let json = try node.run("podman", "image", "inspect", name)
        let list = try JSONSerialization.jsonObject(with: Data(json.utf8)) as? [[String: Any]]
        guard let config = list?.first?["Config"] as? [String: Any] else {
            throw LabError.unexpected("podman image inspect: \(json)")
        }
        return config
    }

    /// The image's files with their modes, as `tar -tv` lists them.
    func files(of name: String) throws -> [(mode: String, path: String)] {
        let text = try node.run(
            "sh", "-euc", "id=$(podman create \(name)); podman export $id | tar -tv; podman rm $id >/dev/null")
        return text.split(separator: "\n").compactMap { line in
            let words = line.split(separator: " ", maxSplits: 5, omittingEmptySubsequences: true)
            guard words.count == 6 else { return nil }
            return (String(words[0]), "/" + words[5].split(separator: " ")[0])
        }
    }

    func file(_ path: String, of name: String) throws -> String {
        try node.run(
            "sh", "-euc",
            "id=$(podman create \(name)); podman export $id | tar -xO \(path.dropFirst()); podman rm $id >/dev/null")
    }

    /// The digests of what the layers unpack to, from the lowest.
    func layers(of name: String) throws -> [String] {
        try node.run("podman", "image", "inspect", "--format", "{{range .RootFS.Layers}}{{.}} {{end}}", name)
            .split(whereSeparator: \.isWhitespace).map(String.init)
    }

    /// The sizes of the image's layers, from the lowest, compressed by each of the programs.
    func compressedLayers(of name: String, by programs: [String]) throws -> [[Int]] {
        let text = try node.run(
            "sh", "-euc",
            """
            folder=$(mktemp -d)
            podman save -q -o $folder/image.tar \(name)
            tar -C $folder -xf $folder/image.tar
            rm $folder/image.tar
            python3 -c 'import json, sys; print(*json.load(open(sys.argv[1]))[0]["Layers"], sep="\\n")' $folder/manifest.json |
                while read layer; do
                    echo \(programs.map { "$(\($0) <$folder/$layer | wc -c)" }.joined(separator: " "))
                done
            rm -rf $folder
            """, timeout: 300)
        return text.split(separator: "\n").map { line in line.split(separator: " ").compactMap { Int($0) } }
    }
}
