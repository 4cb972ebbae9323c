// By hand, and with keys in the order of their bytes, as `ControlAnswer.json`.

extension NetcheckReport {
    func write(to writer: inout JSONWriter) {
        writer.object { object in
            object.member("addresses") { $0.strings(addresses) }
            object.optional("captivePortal", captivePortal)
            object.optional("gateway", gateway)
            if let hub { object.member("hub") { hub.write(to: &$0) } }
            object.optional("interceptingProxy", interceptingProxy)
            if let ipv4 { object.member("ipv4") { ipv4.write(to: &$0) } }
            if let ipv6 { object.member("ipv6") { ipv6.write(to: &$0) } }
            object.member("portMapping") { $0.array(portMapping) { report, item in report.write(to: &item) } }
            object.member("problems") { $0.strings(problems) }
            object.optional("proxy", proxy)
            object.member("relays") { $0.array(relays) { report, item in report.write(to: &item) } }
            object.member("seconds") { $0.number(seconds) }
        }
    }
}

extension NATReport {
    fileprivate func write(to writer: inout JSONWriter) {
        writer.object { object in
            object.optional("allocation", allocation)
            object.optional("filtering", filtering)
            if let isTranslated { object.member("isTranslated") { $0.literal("\(isTranslated)") } }
            object.member("mapped") { $0.strings(mapped) }
            object.optional("mapping", mapping)
            object.optional("pooling", pooling)
            object.member("summary") { $0.string(summary) }
            object.member("udp") { $0.literal("\(udp)") }
        }
    }
}

extension PortMappingReport {
    fileprivate func write(to writer: inout JSONWriter) {
        writer.object { object in
            object.optional("detail", detail)
            object.optional("external", external)
            object.member("name") { $0.string(name) }
            object.member("state") { $0.string(state) }
        }
    }
}

extension ReachReport {
    fileprivate func write(to writer: inout JSONWriter) {
        writer.object { object in
            object.member("address") { $0.string(address) }
            object.optional("detail", detail)
            if let readyMs { object.member("readyMs") { $0.number(readyMs) } }
            if let rttMs { object.member("rttMs") { $0.number(rttMs) } }
            object.member("state") { $0.string(state) }
        }
    }
}

extension RelayReachReport {
    fileprivate func write(to writer: inout JSONWriter) {
        writer.object { object in
            object.member("id") { $0.string(id) }
            if let proxy { object.member("proxy") { proxy.write(to: &$0) } }
            if let tls { object.member("tls") { tls.write(to: &$0) } }
            object.member("udp") { $0.array(udp) { report, item in report.write(to: &item) } }
        }
    }
}

extension JSONWriter {
    fileprivate mutating func optional(_ name: String, _ text: String?) {
        if let text { member(name) { $0.string(text) } }
    }
}
