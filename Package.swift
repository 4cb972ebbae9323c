// swift-tools-version: 6.2
import PackageDescription

/// What every target of ours is compiled with.
let house: [SwiftSetting] = [
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    // The tests run on the programs that are shipped, so release must be testable too: `make test` builds once.
    .unsafeFlags(["-enable-testing"], .when(configuration: .release)),
]

/// A sidecar's modules do without the regular expression engine, which every file imports by itself: `contains` with a
/// string is enough to bring its code into each pod.
let slim: [SwiftSetting] = [
    .unsafeFlags(["-Xfrontend", "-disable-implicit-string-processing-module-import"])
]

func module(
    _ name: String, _ dependencies: [Target.Dependency] = [], settings: [SwiftSetting] = house + slim
) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: settings)
}

/// What we ship holds the Swift runtime: it needs no toolchain beside it, and only what it uses of it is in the memory
/// that a pod pays for; so with the C++ runtime (Sources/Linking). Nothing may look symbols up in it, so that the linker
/// keeps no table of them. The libraries named are those that the shared Foundation has in itself.
///
/// No test may depend on such a target, whose settings would become those of the test runner, which has the shared
/// runtime: `--build-tests` builds the programs anyway, and tests start them.
let shipped: [LinkerSetting] = [
    .unsafeFlags(
        ["-static-stdlib", "-use-ld=lld", "-Xlinker", "--no-export-dynamic", "-Xlinker", "--as-needed"]
            + ["-L\(Context.packageDirectory)/Sources/Linking", "-Xclang-linker", "-static-libgcc"]
            + ["_FoundationCollections", "_FoundationCShims", "_FoundationICU", "CoreFoundation"].map { "-l\($0)" },
        .when(configuration: .release))
]

/// What makes a process smaller. A tenth of the bytes for the addresses that the loader has to fill in, all of which it
/// reads (glibc 2.36 or newer); and the functions that are used side by side (`make order`), so that the kernel does not map
/// the others along with them.
let compact: [LinkerSetting] = [
    .unsafeFlags(
        ["-z", "pack-relative-relocs", "--no-warn-symbol-ordering"].flatMap { ["-Xlinker", $0] }
            + ["-Xlinker", "--symbol-ordering-file=\(Context.packageDirectory)/Sources/Linking/warrend.order"],
        .when(configuration: .release))
]

func program(
    _ name: String, _ dependencies: [Target.Dependency], path: String? = nil, linking: [LinkerSetting] = []
) -> Target {
    .executableTarget(
        name: name, dependencies: dependencies, path: path, swiftSettings: house, linkerSettings: shipped + linking)
}

/// The plugin as one file that needs nothing of the node it is copied to, where LIBMNL_DIR names a folder with a
/// libmnl.a, which Debian does not ship (`make cni-static`).
let plugin: [LinkerSetting] =
    Context.environment["LIBMNL_DIR"].map { folder in
        [
            .unsafeFlags(
                ["-static-executable", "-use-ld=lld", "-L\(folder)", "-Xlinker", "--gc-sections", "-Xlinker", "-s"],
                .when(configuration: .release))
        ]
    } ?? shipped

/// Tests are compiled more often than they run, and optimising what `#expect` becomes takes longer than they do.
let checks: [SwiftSetting] = house + [.unsafeFlags(["-Onone"], .when(configuration: .release))]

func tests(
    _ name: String, _ dependencies: [Target.Dependency], resources: [Resource] = [],
    settings: [SwiftSetting] = checks
) -> Target {
    .testTarget(
        name: "\(name)Tests", dependencies: [.init(stringLiteral: name), "TestSupport"] + dependencies,
        resources: resources, swiftSettings: settings)
}

// The core: the tunnel, traversal, relay framing and the CNI plugin. No package dependencies at all, so that the
// edit-test loop stays at seconds: `WARREN_CORE=1 swift test --scratch-path .build-core` builds only these.
let core: [Target] = [
    .target(name: "CLinux", cSettings: [.define("_GNU_SOURCE")]),
    .systemLibrary(name: "CSodium", pkgConfig: "libsodium", providers: [.apt(["libsodium-dev"])]),
    .systemLibrary(name: "CMnl", pkgConfig: "libmnl", providers: [.apt(["libmnl-dev"])]),
    .systemLibrary(name: "CNftnl", pkgConfig: "libnftnl", providers: [.apt(["libnftnl-dev"])]),
    module("Timing"),
    module("JSON"),
    module("Metrics"),
    module("Addressing", []),
    module("Linux", ["CLinux", "Addressing", "Timing"]),
    module("Sodium", ["CSodium", "CLinux", "Addressing"]),
    .target(name: "CAEAD", cSettings: [.define("_GNU_SOURCE")]),
    module("AEAD", ["CAEAD", "Sodium"]),
    module("Noise", ["Sodium"]),
    module("WireGuard", ["Noise", "AEAD", "Sodium", "Addressing", "Timing"]),
    module("Tun", ["Linux", "CLinux", "Addressing"]),
    module("Transport", ["Linux", "CLinux", "Addressing"]),
    module("Scrape", ["Metrics", "Transport", "Linux", "CLinux", "Addressing", "Timing"]),
    module("STUN", ["Addressing", "Timing"]),
    module("PortMapping", ["Addressing", "Timing"]),
    module("Traversal", ["Metrics", "STUN", "Sodium", "Addressing", "Timing"]),
    module("Queues"),
    module("Relay", ["Queues", "STUN", "Sodium", "Addressing", "Timing"]),
    module("DNS", ["Addressing", "Timing"]),
    module("NameService", ["DNS", "Transport", "Linux", "CLinux", "Addressing", "Timing"]),
    module("Netlink", ["CMnl", "CLinux", "Linux", "Addressing"]),
    module(
        "Gather",
        ["STUN", "PortMapping", "Netlink", "Transport", "Sodium", "Linux", "CLinux", "Addressing", "Timing"]),
    module("NodePorts", ["CNftnl", "CMnl", "Netlink", "Linux", "CLinux", "Addressing"], settings: house),
    module("CNI", ["JSON", "NodePorts", "Netlink", "Tun", "Linux", "CLinux", "Addressing"], settings: house),
    module("Handover", ["Tun", "Netlink", "Linux", "CLinux"]),
    module(
        "NodeAgent",
        [
            "CNI", "NodePorts", "JSON", "Handover", "Metrics", "Scrape", "Transport", "Tun", "Netlink", "Linux",
            "CLinux",
            "Addressing", "Timing",
        ], settings: house),
    module(
        "Tunnel",
        ["Queues", "WireGuard", "Tun", "Transport", "Netlink", "Linux", "CLinux", "Sodium", "Addressing", "Timing"]),
    .executableTarget(name: "warren-cni", dependencies: ["CNI"], swiftSettings: house, linkerSettings: plugin),
    program(
        "warren-bench", ["WireGuard", "AEAD", "CAEAD", "Sodium", "Addressing", "Timing"],
        path: "Benchmarks/warren-bench"),
    // What several suites share.
    .target(
        name: "TestSupport", dependencies: ["Linux", "CLinux"], path: "Tests/TestSupport", swiftSettings: house),
    // A NAT in userspace, for the lab: what nftables cannot do.
    .target(name: "NATBox", dependencies: ["Addressing", "Timing"], path: "Tests/NATBox", swiftSettings: house),
    .executableTarget(
        name: "warren-natbox", dependencies: ["NATBox", "Tun", "Linux", "Timing"], path: "Tests/NATBoxProgram",
        swiftSettings: house),
    // The sidecar's first step, for tests that start it as its user in a pod's namespaces.
    .executableTarget(
        name: "warren-tunprobe", dependencies: ["Handover", "Tun", "Linux"], path: "Tests/TunProbe",
        swiftSettings: house),
    tests("Metrics", []),
    tests("Scrape", ["Metrics", "Linux", "Addressing", "Timing"]),
    tests("NATBox", ["Addressing", "Timing"]),
    tests("Addressing", []),
    tests("Linux", ["Addressing", "Timing"]),
    tests("Sodium", ["Addressing"]),
    tests("AEAD", ["Sodium"]),
    tests("Noise", ["Sodium"]),
    tests("WireGuard", ["Noise", "Sodium", "Addressing", "Timing"]),
    tests("Tun", ["Linux", "Addressing"]),
    tests("Transport", ["Linux", "Addressing"]),
    tests("STUN", ["Addressing", "Timing"]),
    tests("PortMapping", ["Addressing", "Timing"]),
    // Its simulations compute for a minute, optimised.
    tests("Traversal", ["STUN", "Sodium", "Addressing", "Timing"], settings: house),
    tests("Relay", ["STUN", "Sodium", "Addressing", "Timing"]),
    tests("DNS", ["Addressing", "Timing"]),
    tests("NameService", ["DNS", "Transport", "Linux", "Addressing", "Timing"]),
    tests("Gather", ["PortMapping", "STUN", "Transport", "Linux", "Addressing", "Timing"]),
    tests("Netlink", ["Linux", "Addressing"]),
    tests("NodePorts", ["CNftnl", "Netlink", "Linux", "CLinux", "Addressing"]),
    tests("CNI", ["NodePorts", "Netlink", "Linux", "Addressing"]),
    tests("NodeAgent", ["CNI", "NodePorts", "Handover", "Tun", "Netlink", "Linux", "CLinux", "Addressing", "Timing"]),
    tests("Tunnel", ["Queues", "WireGuard", "Transport", "Sodium", "Linux", "Addressing", "Timing"]),
]

let nioCore: Target.Dependency = .product(name: "NIOCore", package: "swift-nio")
let nioPosix: Target.Dependency = .product(name: "NIOPosix", package: "swift-nio")
let nioHTTP1: Target.Dependency = .product(name: "NIOHTTP1", package: "swift-nio")
let nioWebSocket: Target.Dependency = .product(name: "NIOWebSocket", package: "swift-nio")
let nioTLS: Target.Dependency = .product(name: "NIOTLS", package: "swift-nio")
let nioSSL: Target.Dependency = .product(name: "NIOSSL", package: "swift-nio-ssl")
let grdb: Target.Dependency = .product(name: "GRDB", package: "GRDB.swift")
let arguments: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")

// The rest: what speaks TLS or keeps records.
let full: [Target] = [
    .systemLibrary(name: "COpenSSL", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
    module("Certificates", ["COpenSSL"], settings: house),
    module("Membership", ["JSON", "Sodium", "Addressing", "Timing"]),
    module(
        "Directory",
        ["Membership", "Sodium", "Linux", "Addressing", "Timing", nioCore, nioPosix, nioTLS, nioSSL, logging]),
    module(
        "RelayStream",
        [
            "Relay", "Directory", "Membership", "Sodium", "Addressing", "Timing", nioCore, nioPosix, nioHTTP1,
            nioWebSocket, nioSSL,
        ]),
    module("Control", ["Linux", "CLinux", "Addressing", "Timing"]),
    module(
        "Netcheck",
        [
            "Gather", "STUN", "PortMapping", "Directory", "Membership", "Control", "Sodium", "Linux", "Addressing",
            "Timing", nioCore, nioPosix, nioTLS, nioSSL,
        ]),
    module(
        "Sidecar",
        [
            "AEAD", "Directory", "Membership", "Metrics", "Scrape", "Relay", "Traversal", "STUN", "Netcheck", "Gather",
            "PortMapping", "Tunnel", "WireGuard", "Tun", "Handover", "Transport", "Netlink", "RelayStream", "DNS",
            "NameService",
            "Control", "Sodium", "Linux", "Addressing", "Timing", nioCore, nioPosix, logging,
        ]),
    module(
        "Hub",
        [
            "Directory", "Membership", "Kubernetes", "Metrics", "Scrape", "Relay", "RelayStream", "STUN", "Sodium",
            "Certificates", "CLinux", "Linux", "Transport", "Addressing", "Timing", nioCore, nioPosix, nioHTTP1,
            nioWebSocket, nioTLS, nioSSL, grdb, logging,
        ], settings: house),
    // libyaml itself: Yams, which has a copy of it, brings all of Foundation into `warren`, which each pod runs as a probe.
    .systemLibrary(name: "CYAML", pkgConfig: "yaml-0.1", providers: [.apt(["libyaml-dev"])]),
    module("Manifest", ["JSON", "CYAML"], settings: house),
    module("Injection", ["JSON", "Membership", "Addressing"], settings: house),
    module(
        "InjectionArguments", ["Injection", "Membership", "DNS", "Linux", "Addressing", arguments], settings: house),
    module(
        "Kubernetes", ["JSON", "Addressing", "Linux", "Timing", nioCore, nioPosix, nioHTTP1, nioSSL], settings: house),
    module(
        "Injector",
        [
            "Injection", "Kubernetes", "JSON", "Metrics", "Scrape", "Certificates", "Linux", "Addressing", "Timing",
            nioCore, nioPosix, nioHTTP1, nioSSL, logging,
        ], settings: house),
    module(
        "ClusterControl", ["Injection", "Kubernetes", "JSON", "Metrics", "Timing", logging], settings: house),
    program(
        "warren-injector",
        [
            "Injector", "ClusterControl", "Injection", "InjectionArguments", "Kubernetes", "Linux", "Timing", arguments,
            logging,
        ]),
    program(
        "warrend", ["Sidecar", "Membership", "Tunnel", "DNS", "Linux", "CLinux", "Addressing", "Timing", logging],
        linking: compact),
    program(
        "warren-crowd", ["Directory", "Membership", "Linux", "Sodium", "Addressing", "Timing", logging],
        path: "Benchmarks/warren-crowd"),
    module(
        "BlockLeasing", ["Directory", "Membership", "Sodium", "Linux", "Addressing", "Timing"], settings: house),
    program(
        "warren-node",
        ["NodeAgent", "BlockLeasing", "Directory", "Membership", "Sodium", "Linux", "Addressing", "Timing", arguments]),
    program(
        "warren-hub",
        ["Hub", "Directory", "Membership", "Kubernetes", "Sodium", "Addressing", "Timing", arguments, logging]),
    program(
        "warren",
        [
            "Injection", "InjectionArguments", "JSON", "Manifest", "Netcheck", "Control", "Membership", "Sodium",
            "Linux", "Addressing", arguments,
        ]),
    program(
        "warren-relay-load",
        [
            "Hub", "Membership", "Relay", "RelayStream", "Transport", "Sodium", "Linux", "Addressing", "Timing",
            nioCore,
            nioPosix, arguments,
        ],
        path: "Benchmarks/warren-relay-load"),
    tests("Membership", ["Sodium", "Addressing"]),
    tests("Directory", ["Membership", "Sodium", "Addressing", "Timing", nioCore, nioPosix, nioSSL]),
    tests("BlockLeasing", ["Directory", "Membership", "Sodium", "Linux", "Addressing", "Timing"]),
    tests("Netcheck", ["PortMapping", "Control", "Membership", "Sodium", "Addressing", "Timing"]),
    tests(
        "Hub",
        [
            "Directory", "Membership", "Relay", "RelayStream", "STUN", "Transport", "Sodium", "Addressing", "Timing",
            nioCore, nioPosix, nioHTTP1, nioWebSocket, nioSSL, grdb, "Sidecar", "Tunnel",
        ]),
    tests(
        "Sidecar",
        [
            "Directory", "Membership", "Relay", "Traversal", "Transport", "WireGuard", "Sodium", "Addressing", "Timing",
            "STUN", "Tunnel", "Control", nioCore,
        ]),
    tests("Control", ["Linux", "Addressing"]),
    tests(
        "Kubernetes",
        [
            "ClusterControl", "Metrics", "Injector", "Injection", "Hub", "Directory", "Membership", "Sodium", "JSON",
            "Addressing", "Timing", nioCore, nioPosix, nioHTTP1, nioSSL, logging,
        ]),
    tests(
        "Injector",
        [
            "Injection", "Kubernetes", "Manifest", "JSON", "Linux", "Addressing", "Timing", nioCore, nioPosix, nioHTTP1,
            nioSSL, logging,
        ]),
    tests("Injection", ["JSON", "Manifest", "Addressing"], resources: [.copy("Shapes")]),
    // The manifests, the documents and what they say of the programs.
    .testTarget(
        name: "ClusterTests", dependencies: ["TestSupport", "JSON", "Manifest"], path: "Tests/ClusterTests",
        exclude: ["Programs"], swiftSettings: checks),
    .testTarget(
        name: "InteroperabilityTests",
        dependencies: [
            "TestSupport", "Lab", "Control", "WireGuard", "Noise", "Gather", "PortMapping", "STUN", "Sodium",
            "Transport", "Linux", "Addressing", "Timing",
        ],
        path: "Tests/InteroperabilityTests", swiftSettings: checks),
]

// The whole on one machine: namespaces, NATs, pods and unmodified programs, for the demo and the end-to-end tests.
let scenarios: [Target] = [
    .target(
        name: "Lab", dependencies: ["Control", "NATBox", "Transport", "Linux", "Addressing"], path: "Tests/Lab",
        exclude: ["Responders"], swiftSettings: house),
    .executableTarget(name: "warren-demo", dependencies: ["Lab", "Control"], path: "Tests/Demo", swiftSettings: house),
    .executableTarget(
        name: "warren-natlab", dependencies: ["Lab", "Linux"], path: "Tests/NATLab", swiftSettings: house),
    .testTarget(
        name: "EndToEndTests",
        dependencies: [
            "Lab", "NATBox", "Control", "Directory", "Membership", "Sodium", "Linux", "Addressing", "TestSupport",
            nioCore,
            nioPosix,
        ],
        path: "Tests/EndToEndTests", exclude: ["Rules"], swiftSettings: checks),
    .testTarget(
        name: "RuntimeTests", dependencies: ["Lab", "Netlink", "Linux", "Addressing"], path: "Tests/RuntimeTests",
        exclude: ["Programs"], swiftSettings: checks),
]

let coreOnly = Context.environment["WARREN_CORE"] == "1"

// Each dependency and why it is worth its build time:
// swift-nio, swift-nio-ssl: TLS needs a library, and both ends of the hub link share this one (no OpenSSL in a sidecar).
// GRDB: SQLite for the hub's records, with migrations and WAL handled by people who do nothing else.
// (The injector's certificates are made with libcrypto, which the hub loads anyway: swift-certificates would compile a
// second BoringSSL for it. Its calls of the Kubernetes API are too few for async-http-client's four minutes.)
// swift-argument-parser, swift-log: small, and what every Swift server program uses.
let package = Package(
    name: "warren",
    products: ["warren-cni"].map { .executable(name: $0, targets: [$0]) }
        + (coreOnly
            ? []
            : ["warrend", "warren-hub", "warren-injector", "warren-node", "warren"].map {
                .executable(name: $0, targets: [$0])
            }),
    dependencies: coreOnly
        ? []
        : [
            .package(url: "https://github.com/apple/swift-nio", exact: "2.101.2"),
            .package(url: "https://github.com/apple/swift-nio-ssl", exact: "2.37.6"),
            .package(url: "https://github.com/groue/GRDB.swift", exact: "7.10.0"),
            .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2"),
            .package(url: "https://github.com/apple/swift-log", exact: "1.16.2"),
        ],
    targets: coreOnly ? core : core + full + scenarios,
    swiftLanguageModes: [.v6]
)
