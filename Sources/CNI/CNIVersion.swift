/// A version of the CNI specification that this plugin speaks.
package enum CNIVersion: String, CaseIterable, Comparable, Sendable {
    case v0_3_0 = "0.3.0"
    case v0_3_1 = "0.3.1"
    case v0_4_0 = "0.4.0"
    case v1_0_0 = "1.0.0"
    case v1_1_0 = "1.1.0"

    package static let newest = CNIVersion.v1_1_0

    /// Oldest first.
    package static var list: String { allCases.map(\.rawValue).joined(separator: ", ") }

    package init(supported text: String?) throws(CNIError) {
        guard let text else {
            throw .incompatibleVersion("read cniVersion: missing; this plugin speaks \(Self.list)")
        }
        guard let version = CNIVersion(rawValue: text) else {
            throw .incompatibleVersion("read cniVersion \(text): incompatible; this plugin speaks \(Self.list)")
        }
        self = version
    }

    package static func < (left: Self, right: Self) -> Bool { left.order < right.order }

    private var order: Int {
        switch self {
        case .v0_3_0: 0
        case .v0_3_1: 1
        case .v0_4_0: 2
        case .v1_0_0: 3
        case .v1_1_0: 4
        }
    }
}
