import Addressing
import Testing

@testable import CNI

@Suite struct ResultTests {
    private func text(_ result: CNI.Result, _ version: CNIVersion) -> String {
        String(decoding: result.json(version: version).serialized(), as: UTF8.self)
    }

    private func appended(to previous: String?) throws -> CNI.Result {
        var result = try previous.map { try CNI.Result(previous: JSONValue(parsing: Array($0.utf8))) } ?? CNI.Result()
        result.append(
            interface: "warren0", sandbox: "/run/netns/x", mtu: 1400,
            addresses: [IPPrefix("fd00:9::1/128")!, IPPrefix("10.9.7.1/32")!], routes: [IPPrefix("fd00:9::/48")!])
        return result
    }

    /// What Debian's ptp returns, with keys that we know nothing of.
    private func ptp(_ version: String, ipVersion: String) -> String {
        #"{"cniVersion":"\#(version)","interfaces":[{"name":"veth1","mac":"02:00:00:00:00:01"},"#
            + #"{"name":"eth0","mac":"02:00:00:00:00:02","sandbox":"/run/netns/x","vendor":[1,2.5,null,true]}],"#
            + #""ips":[{\#(ipVersion)"address":"10.1.0.2/24","gateway":"10.1.0.1","interface":1}],"#
            + #""routes":[{"dst":"0.0.0.0/0"}],"dns":{"nameservers":["10.0.0.53"]},"io.example/x":{"a":1}}"#
    }

    @Test(arguments: CNIVersion.allCases)
    func `ours comes after the primary's, in the version asked for`(version: CNIVersion) throws {
        let (four, six) = version < .v1_0_0 ? (#","version":"4""#, #","version":"6""#) : ("", "")
        let mtu = version < .v1_1_0 ? "" : #""mtu":1400,"#
        let golden =
            #"{"cniVersion":"\#(version.rawValue)","dns":{"nameservers":["10.0.0.53"]},"interfaces":["#
            + #"{"mac":"02:00:00:00:00:01","name":"veth1"},"#
            + #"{"mac":"02:00:00:00:00:02","name":"eth0","sandbox":"/run/netns/x","vendor":[1,2.5,null,true]},"#
            + #"{"mac":"00:00:00:00:00:00",\#(mtu)"name":"warren0","sandbox":"/run/netns/x"}],"io.example/x":{"a":1},"#
            + #""ips":[{"address":"10.1.0.2/24","gateway":"10.1.0.1","interface":1\#(four)},"#
            + #"{"address":"fd00:9::1/128","interface":2\#(six)},{"address":"10.9.7.1/32","interface":2\#(four)}],"#
            + #""routes":[{"dst":"0.0.0.0/0"},{"dst":"fd00:9::/48"}]}"#
        #expect(try text(appended(to: ptp("1.0.0", ipVersion: "")), version) == golden)
        #expect(try text(appended(to: ptp("0.4.0", ipVersion: #""version":"4","#)), version) == golden)
    }

    @Test(arguments: CNIVersion.allCases)
    func `alone there is only ours`(version: CNIVersion) throws {
        let (four, six) = version < .v1_0_0 ? (#","version":"4""#, #","version":"6""#) : ("", "")
        let mtu = version < .v1_1_0 ? "" : #""mtu":1400,"#
        let golden =
            #"{"cniVersion":"\#(version.rawValue)","dns":{},"interfaces":["#
            + #"{"mac":"00:00:00:00:00:00",\#(mtu)"name":"warren0","sandbox":"/run/netns/x"}],"#
            + #""ips":[{"address":"fd00:9::1/128","interface":0\#(six)},{"address":"10.9.7.1/32","interface":0\#(four)}],"#
            + #""routes":[{"dst":"fd00:9::/48"}]}"#
        #expect(try text(appended(to: nil), version) == golden)
    }

    @Test func `a primary without interfaces keeps its addresses first`() throws {
        let result = try appended(to: #"{"cniVersion":"0.3.1","ips":[{"version":"4","address":"10.1.0.2/24"}]}"#)
        #expect(result.addresses.map(\.interface) == [nil, 0, 0])
        #expect(result.addresses.first?.prefix == IPPrefix("10.1.0.2/24"))
    }

    @Test(arguments: [
        (#"{"ips":[]}"#, 1), (#"{"cniVersion":"0.2.0","ip4":{}}"#, 1), (#"[]"#, 6), (#""x""#, 6),
        (#"{"cniVersion":"1.0.0","ips":{}}"#, 6), (#"{"cniVersion":"1.0.0","ips":[{"address":"x"}]}"#, 6),
        (#"{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.1/24","interface":0}]}"#, 6),
        (#"{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.1/24","interface":-1}]}"#, 6),
        (#"{"cniVersion":"1.0.0","interfaces":[{"mac":"x"}]}"#, 6), (#"{"cniVersion":"1.0.0","routes":7}"#, 6),
    ])
    func `a previous result that is none is refused`(text: String, code: Int) {
        let error = #expect(throws: CNIError.self) {
            try CNI.Result(previous: JSONValue(parsing: Array(text.utf8)))
        }
        #expect(error?.code == code)
    }

    @Test func `null lists are empty lists`() throws {
        let result = try appended(to: #"{"cniVersion":"1.0.0","interfaces":null,"ips":null,"routes":null,"dns":{}}"#)
        #expect(result.interfaces.map(\.name) == ["warren0"])
    }
}

@Suite struct CNIErrorTests {
    @Test func `an error is the specification's object`() throws {
        let error = CNIError.addressTaken("reserve 10.9.7.1 for container b: container \"a\" holds it")
        #expect(
            String(decoding: error.json(version: "1.0.0").serialized(), as: UTF8.self)
                == #"{"cniVersion":"1.0.0","code":101,"msg":"reserve 10.9.7.1 for container b: container \"a\" holds it"}"#
        )
    }

    @Test func `details are a delegated plugin's own, then for whom the verb was`() {
        let error = CNIError.delegated(code: 11, message: "dhcp ADD: no answer", details: "5 tries")
        #expect(
            String(decoding: error.json(version: "1.1.0", details: "ADD").serialized(), as: UTF8.self)
                == #"{"cniVersion":"1.1.0","code":11,"details":"5 tries; ADD","msg":"dhcp ADD: no answer"}"#)
    }

    @Test func `codes are the specification's or above 99`() {
        let codes = [
            CNIError.incompatibleVersion(""), .unsupportedField(""), .invalidEnvironment(""), .inputOutput(""),
            .undecodable(""), .invalidConfiguration(""), .invalidNamespace(""), .tryAgainLater(""), .notAvailable(""),
            .alreadyAttached(""), .addressTaken(""), .rangeExhausted(""), .kernel(""), .checkFailed(""),
            .userNamespace(""), .overlap(""), .delegation(""), .delegated(code: 999, message: "", details: ""),
        ].map(\.code)
        #expect(codes == [1, 2, 4, 5, 6, 7, 8, 11, 50, 100, 101, 102, 103, 104, 105, 106, 107, 999])
    }
}
