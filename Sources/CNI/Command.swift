/// What the runtime asks for (CNI_COMMAND).
package enum Command: String, CaseIterable, Sendable {
    case add = "ADD"
    case delete = "DEL"
    case check = "CHECK"
    case collectGarbage = "GC"
    case status = "STATUS"
    case version = "VERSION"

    /// The first version of the specification that has the verb.
    package var since: CNIVersion {
        switch self {
        case .add, .delete, .version: .v0_3_0
        case .check: .v0_4_0
        case .collectGarbage, .status: .v1_1_0
        }
    }

    /// The variables without which the verb means nothing.
    var required: [String] {
        switch self {
        case .add, .check: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"]
        case .delete: ["CNI_CONTAINERID", "CNI_IFNAME"]
        case .collectGarbage, .status: ["CNI_PATH"]
        case .version: []
        }
    }
}
