import Testing

@testable import NodeAgent

@Suite struct ConflistTests {
    private let entry = #"{"type": "warren-cni", "node": 7}"#

    private func text(_ bytes: [UInt8]?) -> String { String(decoding: bytes ?? [], as: UTF8.self) }
    private func list(_ text: String) throws -> Conflist { try Conflist(parsing: Array(text.utf8)) }

    @Test func `the entry comes last, and the rest of the text stays byte for byte`() throws {
        let before = ScratchNode.ptp
        let after = text(try list(before).keeping(entry))
        let portmap = #"{"type": "portmap", "capabilities": {"portMappings": true}}"#
        #expect(after == before.replacing(portmap, with: "\(portmap),\n    \(entry)"))
        #expect(try list(after).types == ["ptp", "portmap", "warren-cni"])
    }

    @Test func `an entry that is there already changes nothing, in whatever order its members are`() throws {
        let same = #"{"name":"n","plugins":[{"type":"ptp"},{ "node":7,"type" : "warren-cni" }]}"#
        #expect(try list(same).keeping(entry) == nil)
    }

    @Test(arguments: [
        // Another node's number, a second entry, the first place.
        (
            #"{"name":"n","plugins":[{"type":"ptp"},{"type":"warren-cni","node":8},{"type":"bandwidth"}]}"#,
            ["ptp", "warren-cni", "bandwidth"]
        ),
        (
            #"{"name":"n","plugins":[{"type":"ptp"},{"type":"warren-cni","node":7},{"type":"warren-cni","node":7}]}"#,
            ["ptp", "warren-cni"]
        ),
        (
            #"{"name":"n","plugins":[{"type":"warren-cni","node":7},{"type":"warren-cni"},{"type":"ptp"}]}"#,
            ["ptp", "warren-cni"]
        ),
    ])
    func `a wrong entry becomes one right entry that is not the first`(before: String, types: [String]) throws {
        let after = try list(text(list(before).keeping(entry)))
        #expect(after.types == types)
        #expect(after.keeping(entry) == nil)
    }

    @Test func `taking the entry out gives the text back as it was`() throws {
        let with = text(try list(ScratchNode.ptp).keeping(entry))
        #expect(text(try list(with).withoutEntry()) == ScratchNode.ptp)
        #expect(try list(ScratchNode.ptp).withoutEntry() == nil)
    }

    @Test func `a list of nothing but our entry is somebody's own, and no primary`() throws {
        let alone = try list(#"{"name":"n","plugins":[{"type":"warren-cni"}]}"#)
        #expect(!alone.hasPrimary && alone.withoutEntry() == nil)
    }

    @Test(arguments: [
        "", "{", #"{"name":"n","plugins":[{"type":"ptp"}]"#, #"{"name":"n","plugins":[]}"#,
        #"{"plugins":[{"type":"ptp"}]}"#,
        #"{"name":"n","plugins":[{"ipam":{}}]}"#, #"{"name":"n","plugins":[{"type":"ptp"}]} x"#, "[1]", "null",
        #"{"name":"n","plugins":[{"type":"ptp"}],"plugins":[{"type":"bridge"}]}"#,
        #"{"name":"n","plugins":[{"type":"ptp","mtu":01}]}"#, "{\"name\":\"n\u{1}\",\"plugins\":[{\"type\":\"ptp\"}]}",
    ])
    func `what a runtime could not use is refused`(text: String) {
        #expect(throws: Conflist.Fault.self) { try list(text) }
    }

    @Test func `nesting has an end`() {
        let deep = String(repeating: "[", count: 100_000)
        #expect(JSONText(Array(deep.utf8)) == nil)
        #expect(JSONText(Array(#"{"a":"\ud83d\ude00\ud83d\u0041"}"#.utf8))?.root["a"]?.text == "😀\u{fffd}A")
    }

    @Test func `a single plugin is wrapped unchanged`() throws {
        let conf = #"{ "cniVersion": "0.3.1", "name": "n\"x", "type": "ptp", "mtu": 1.50 }"#
        let wrapped = try list(text(Conflist.wrapping(conf: Array(conf.utf8))))
        #expect(wrapped.name == "n\"x" && wrapped.types == ["ptp"])
        #expect(text(wrapped.onlyPlugin) == conf)
        #expect(throws: Conflist.Fault.self) { try Conflist.wrapping(conf: Array(#"{"type":"ptp"}"#.utf8)) }
    }
}
