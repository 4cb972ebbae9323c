import Addressing
import Testing

@testable import Hub

@Suite struct SourceSurveyTests {
    private func survey(_ addresses: [String]) -> SourceSurvey {
        SourceSurvey(addresses.compactMap { IPAddress($0) })
    }

    private func pods(_ count: Int) -> [String] { (0..<count).map { "10.244.\($0 / 200).\($0 % 200 + 1)" } }

    @Test func `many agents at few private addresses are behind nodes`() {
        let nodes = (0..<30).map { "192.168.7.\($0 % 3 + 1)" }
        let found = survey(nodes)
        #expect(found.isBehindNodes && found.privateAddresses == 3)
        #expect(found.warning.contains("30 of 30") && found.warning.contains("externalTrafficPolicy: Local"))
        #expect(survey(nodes.map { "::ffff:\($0)" }).isBehindNodes)
        #expect(survey(Array(repeating: "fd00::1", count: 8)).isBehindNodes)
    }

    @Test func `pods with addresses of their own are not, nor public sources`() {
        #expect(!survey(pods(200)).isBehindNodes)
        #expect(!survey(Array(repeating: "203.0.113.7", count: 500)).isBehindNodes)
        #expect(!survey([]).isBehindNodes)
    }

    @Test func `few agents, or a tenth from elsewhere, say nothing`() {
        #expect(!survey(Array(repeating: "10.0.0.1", count: 7)).isBehindNodes)
        let mixed = Array(repeating: "10.0.0.1", count: 88) + (0..<12).map { "198.51.100.\($0)" }
        #expect(!survey(mixed).isBehindNodes)
    }
}
