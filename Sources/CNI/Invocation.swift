/// The environment of one call, validated: the CNI_* variables and nothing else of what a runtime leaks to us.
package struct Invocation: Hashable, Sendable {
    package let command: Command
    /// Empty for the verbs that are not about a container.
    package let containerID: String
    package let ifName: String
    /// The path of the pod's network namespace; nil when it is gone or the verb needs none.
    package let netns: String?
    package let arguments: String
    /// The folders in which a delegated plugin is looked for (CNI_PATH).
    package let pluginFolders: [String]
    /// What a delegated plugin is to see: the variables as they came, and PATH.
    package let environment: [String: String]
    /// The runtime insists that acting on the plugin's own namespace is wanted (CNI_NETNS_OVERRIDE).
    package let mayTouchOwnNamespace: Bool

    package static let variables = [
        "CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH", "CNI_NETNS_OVERRIDE",
        "PATH",
    ]

    /// Nil when CNI_COMMAND is not set at all: somebody ran the program by hand.
    package init?(environment: [String: String]) throws(CNIError) {
        guard let verb = environment["CNI_COMMAND"], !verb.isEmpty else { return nil }
        guard let command = Command(rawValue: verb) else {
            throw .invalidEnvironment("read CNI_COMMAND: unknown command \(verb)")
        }
        func value(_ name: String) -> String? { environment[name].flatMap { $0.isEmpty ? nil : $0 } }
        let missing = command.required.filter { value($0) == nil }
        guard missing.isEmpty else {
            throw .invalidEnvironment("required env variables [\(missing.joined(separator: ","))] missing")
        }
        let needsContainer = command.required.contains("CNI_CONTAINERID")
        self.command = command
        containerID = needsContainer ? value("CNI_CONTAINERID") ?? "" : ""
        ifName = needsContainer ? value("CNI_IFNAME") ?? "" : ""
        netns = needsContainer ? value("CNI_NETNS") : nil
        arguments = value("CNI_ARGS") ?? ""
        mayTouchOwnNamespace = ["1", "TRUE"].contains(value("CNI_NETNS_OVERRIDE")?.uppercased() ?? "")
        pluginFolders = (value("CNI_PATH") ?? "").split(separator: ":").map(String.init)
        self.environment = environment.filter { Self.variables.contains($0.key) }
        guard needsContainer else { return }
        guard Self.isContainerID(containerID) else {
            throw .invalidEnvironment(
                "read CNI_CONTAINERID \(containerID): invalid characters, or longer than \(Self.containerIDLimit) bytes"
            )
        }
        if let fault = Self.interfaceNameFault(ifName) {
            throw .invalidEnvironment("read CNI_IFNAME \(ifName): \(fault)")
        }
    }

    /// Verb and container, for the error object's details.
    package var subject: String {
        containerID.isEmpty ? command.rawValue : "\(command.rawValue) of container \(containerID) interface \(ifName)"
    }

    /// Alphanumeric, then also `_`, `.` and `-`: safe as a file name. At most 255 bytes.
    package static func isIdentifier(_ text: String) -> Bool {
        func isAlphanumeric(_ byte: UInt8) -> Bool {
            (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
        }
        guard let first = text.utf8.first, isAlphanumeric(first), text.utf8.count <= 255 else { return false }
        return text.utf8.allSatisfy { isAlphanumeric($0) || $0 == 0x5f || $0 == 0x2e || $0 == 0x2d }
    }

    /// With a colon and an interface name after it, still a file name.
    package static let containerIDLimit = 239

    package static func isContainerID(_ text: String) -> Bool {
        isIdentifier(text) && text.utf8.count <= containerIDLimit
    }

    /// What is wrong with an interface name (dev_valid_name() of the kernel); nil for a good one.
    package static func interfaceNameFault(_ name: String) -> String? {
        if name.isEmpty { return "empty interface name" }
        if name.utf8.count > 15 { return "interface name longer than 15 bytes" }
        if name == "." || name == ".." { return "interface name is . or .." }
        let isBad = name.utf8.contains { $0 <= 0x20 || $0 == 0x7f || $0 == 0x2f || $0 == 0x3a }
        return isBad ? "interface name contains / : blank or control characters" : nil
    }
}
