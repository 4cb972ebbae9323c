import Control
import Testing

@Suite struct ControlRequestTests {
    @Test(arguments: [
        ControlRequest.status, .peers, .whois("fd77::1"), .resolve("agent-b"), .leave,
    ])
    func `a request survives its line`(_ request: ControlRequest) {
        #expect(ControlRequest(line: request.line) == request)
    }

    @Test(arguments: ["", "status now", "whois", "whois a b", "reboot", "\u{0}"])
    func `what is not a request is refused`(_ line: String) {
        #expect(ControlRequest(line: line) == nil)
    }
}
