/// A group of agents, as `GROUP.NAMESPACE`: two DNS labels, 63 characters with the dot. Who is in it is in the credentials.
package struct GroupName: Hashable, Sendable, CustomStringConvertible {
    /// How many groups one agent may be in.
    package static let limit = 4

    package let description: String

    /// Nil for what is no such name.
    package init?(_ text: String) {
        let dots = text.utf8.count { $0 == UInt8(ascii: ".") }
        let labels = text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard text.utf8.count <= 63, dots == 1, AgentName.isValid(text), labels.allSatisfy(Self.isLabel) else {
            return nil
        }
        description = text
    }

    private static func isLabel(_ label: Substring.UTF8View) -> Bool {
        guard let first = label.first, let last = label.last else { return false }
        return AgentName.isAlphanumeric(first) && AgentName.isAlphanumeric(last)
    }

    static func json(_ groups: [GroupName]) -> JSONValue { .array(groups.map { .string($0.description) }) }

    /// None where the member is missing; nil unless all are names, each once, and not too many.
    static func list(_ json: JSONValue?) -> [GroupName]? {
        guard let json else { return [] }
        guard let texts = json.strings, texts.count <= limit else { return nil }
        let groups = texts.compactMap { GroupName($0) }
        return groups.count == texts.count && Set(groups).count == groups.count ? groups : nil
    }
}
