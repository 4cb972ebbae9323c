import Addressing
import Testing

@Suite struct NodePortHintTests {
    @Test func `a hint is one line that reads back`() {
        let hint = NodePortHint(nodePort: 31007, podPort: 51820)
        #expect(hint.description == "warren node-port 31007 udp 51820")
        #expect(NodePortHint(hint.description) == hint)
    }

    @Test(arguments: [
        "", "warren", "warren node-port 31007", "warren node-port 0 udp 51820", "warren node-port 70000 udp 1",
        "warren node-port 1 udp 0", "warren node-port 1 tcp 1", "mesh node-port 1 udp 1",
        "warren node-port 1 udp 1 more",
    ])
    func `another alias is none`(_ alias: String) { #expect(NodePortHint(alias) == nil) }
}
