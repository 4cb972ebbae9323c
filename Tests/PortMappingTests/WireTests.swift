import Addressing
import TestSupport
import Testing

@testable import PortMapping

func hex(_ text: String) -> [UInt8] { Hexadecimal.decode(text.filter { !$0.isWhitespace }) ?? [] }

@Suite struct PCPTests {
    let host = IPv4Address(10, 1, 0, 2)
    let nonce = hex("000102030405060708090a0b")

    @Test func `requests have the layout of RFC 6887 7.1 and 11.1`() {
        let map = PCP.Map(nonce: nonce, internalPort: 51820, externalPort: 40000, externalAddress: .v4(.any))
        #expect(
            PCP.map(map, lifetime: 7200, client: host)
                == hex(
                    """
                    02 01 0000 00001c20 00000000000000000000ffff 0a010002
                    000102030405060708090a0b 11 000000 ca6c 9c40 00000000000000000000ffff 00000000
                    """))
        #expect(
            PCP.announce(client: host) == hex("02 00 0000 00000000 00000000000000000000ffff 0a010002"))
    }

    @Test func `a response is read, with its options ignored`() throws {
        let bytes = hex(
            """
            02 81 00 00 00000e10 000003e8 000000000000000000000000
            000102030405060708090a0b 11 000000 ca6c 9c41 00000000000000000000ffff cb00710b
            80 00 0004 01020304
            """)
        let response = try #require(unsafe PCP.response(bytes.span.bytes))
        #expect(response.lifetime == 3600)
        #expect(response.epoch == 1000)
        let map = try #require(response.map)
        #expect(map.nonce == nonce)
        #expect(map.externalPort == 40001)
        #expect(map.externalAddress == .v4(IPv4Address(203, 0, 113, 11)))
    }

    @Test func `requests, other versions, protocols and lengths are no responses, and no mutation traps`() {
        let good = hex(
            """
            02 81 00 00 00000e10 000003e8 000000000000000000000000
            000102030405060708090a0b 11 000000 ca6c 9c41 00000000000000000000ffff cb00710b
            """)
        for (offset, value) in [(0, 1), (1, 0x01), (1, 0x82), (36, 6)] as [(Int, UInt8)] {
            var bytes = good
            bytes[offset] = value
            #expect(unsafe PCP.response(bytes.span.bytes) == nil)
        }
        for count in 0..<good.count {
            let bytes = Array(good.prefix(count))
            #expect(unsafe PCP.response(bytes.span.bytes) == nil)
        }
        var random = SeededRandom(seed: 6887)
        var read = 0
        for _ in 0..<50_000 {
            let bytes = random.mutated(good)
            if unsafe PCP.response(bytes.span.bytes) != nil { read += 1 }
            _ = unsafe NATPMP.response(bytes.span.bytes)
        }
        #expect(read > 1000)
    }
}

@Suite struct NATPMPTests {
    @Test func `requests and answers have the layout of RFC 6886 3.2 and 3.3`() {
        #expect(
            NATPMP.map(internalPort: 51820, externalPort: 40000, lifetime: 7200)
                == hex("00 01 0000 ca6c 9c40 00001c20"))
        let address = hex("00 80 0000 000003e8 cb00710b")
        #expect(
            unsafe NATPMP.response(address.span.bytes) == .address(IPv4Address(203, 0, 113, 11), epoch: 1000))
        let mapped = hex("00 81 0000 000003e8 ca6c 9c41 00000e10")
        #expect(
            unsafe NATPMP.response(mapped.span.bytes)
                == .mapped(internalPort: 51820, externalPort: 40001, lifetime: 3600, epoch: 1000))
        let refused = hex("00 81 0002 000003e8 ca6c 0000 00000000")
        #expect(unsafe NATPMP.response(refused.span.bytes) == .failed(result: 2))
    }

    @Test func `truncated answers and requests are refused`() {
        for text in ["", "00", "00 80 0000", "00 80 0000 000003e8 cb0071", "00 01 0000 ca6c 9c40 00001c20"] {
            let bytes = hex(text)
            #expect(unsafe NATPMP.response(bytes.span.bytes) == nil)
        }
    }
}

@Suite struct XMLElementTests {
    func parse(_ text: String) -> XMLElement? { XMLElement(document: Array(text.utf8)) }

    @Test func `elements, text, references and CDATA are read, and prefixes and attributes left out`() throws {
        let root = try #require(
            parse(
                """
                \u{feff}<?xml version="1.0"?><!-- x --><s:a q="<not>" r='"'><b> one &amp; &#x41;&#66; </b><c/>\
                <b><![CDATA[<raw>]]></b></s:a>
                """))
        #expect(root.name == "a")
        #expect(root.children.map(\.name) == ["b", "c", "b"])
        #expect(root.text("b") == "one & AB")
        #expect(root.children[2].text == "<raw>")
    }

    @Test(arguments: [
        "", "text", "<a>", "<a></b>", "<a><b></a></b>", "</a>", "<a>&unknown;</a>", "<a>&#0;</a>", "<a", "<a b='",
        "<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>", "<!DOCTYPE a><a/>", "<a><!ENTITY x SYSTEM \"file:///x\"></a>",
        "x<a/>", "<a>&#x110000;</a>", "<>", "< a/>", "<a/ b='<'>",
    ])
    func `what is not well-formed or has a document type is refused`(text: String) {
        #expect(parse(text) == nil)
    }

    @Test func `size, depth, count and names are bounded`() {
        let deep = { (depth: Int) in
            String(repeating: "<a>", count: depth) + String(repeating: "</a>", count: depth)
        }
        #expect(parse(deep(XMLElement.depthLimit)) != nil)
        #expect(parse(deep(XMLElement.depthLimit + 1)) == nil)
        let wide = { (count: Int) in "<a>" + String(repeating: "<b/>", count: count) + "</a>" }
        #expect(parse(wide(XMLElement.countLimit - 1)) != nil)
        #expect(parse(wide(XMLElement.countLimit)) == nil)
        #expect(parse("<a>" + String(repeating: " ", count: XMLElement.sizeLimit) + "</a>") == nil)
        #expect(parse("<\(String(repeating: "n", count: 129))/>") == nil)
    }

    @Test func `100,000 mutated documents are read or refused without a trap`() {
        var random = SeededRandom(seed: 26)
        let document = Array(
            "<?xml version=\"1.0\"?><s:a q=\"1\"><b>one &amp; two</b><c/><![CDATA[x]]><!-- y --><d><e>3</e></d></s:a>"
                .utf8)
        var read = 0
        for _ in 0..<100_000 where XMLElement(document: random.mutated(document)) != nil { read += 1 }
        #expect(read > 1000)
    }
}

@Suite struct HTTPResponseTests {
    func read(_ text: String, isEnded: Bool = false) -> HTTPResponse.Reading {
        HTTPResponse.read(Array(text.utf8), isEnded: isEnded)
    }

    func body(_ reading: HTTPResponse.Reading) -> String? {
        guard case .complete(let response) = reading else { return nil }
        return String(decoding: response.body, as: UTF8.self)
    }

    @Test func `a body ends by length, by chunks or with the connection`() {
        #expect(body(read("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef")) == "abc")
        #expect(read("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab") == .incomplete)
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
        #expect(body(read(chunked)) == "abcde")
        #expect(read(String(chunked.dropLast(9))) == .incomplete)
        #expect(read("HTTP/1.0 200 OK\r\n\r\nabc") == .incomplete)
        #expect(body(read("HTTP/1.0 200 OK\r\n\r\nabc", isEnded: true)) == "abc")
    }

    @Test(arguments: [
        "SSH-2.0-x\r\n\r\n", "HTTP/2 200\r\n\r\n", "HTTP/1.1 abc\r\n\r\n", "HTTP/1.1 99 x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n",
    ])
    func `what is not HTTP or lies about its length is refused`(text: String) {
        #expect(read(text, isEnded: true) == .malformed)
    }

    @Test func `an answer beyond the limit is refused, and an endless head too`() {
        #expect(
            HTTPResponse.read([UInt8](repeating: 65, count: HTTPResponse.sizeLimit + 1), isEnded: false) == .malformed)
        #expect(HTTPResponse.read([UInt8](repeating: 65, count: 20_000), isEnded: false) == .malformed)
    }

    @Test func `100,000 mutated answers are read or refused without a trap`() {
        var random = SeededRandom(seed: 9112)
        let samples = [
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
            "HTTP/1.1 500 x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        ].map { Array($0.utf8) }
        var read = 0
        for round in 0..<100_000 {
            let bytes = random.mutated(samples[round % 2])
            if case .complete = HTTPResponse.read(bytes, isEnded: round % 3 == 0) { read += 1 }
        }
        #expect(read > 1000)
    }
}

@Suite struct GatewayURLTests {
    let gateway = IPv4Address(10, 1, 0, 1)

    @Test func `only the gateway's own address is followed`() {
        #expect(GatewayURL("http://10.1.0.1:5000/rootDesc.xml", on: gateway)?.endpoint.port == 5000)
        #expect(GatewayURL("HTTP://10.1.0.1/x?y=1#z", on: gateway)?.path == "/x?y=1")
        #expect(GatewayURL("http://10.1.0.1", on: gateway)?.path == "/")
        for text in [
            "http://10.1.0.2/x", "https://10.1.0.1/x", "http://10.1.0.1@10.1.0.2/", "http://10.1.0.1.evil/",
            "http://localhost/", "http://10.1.0.1:0/", "http://10.1.0.1:99999/", "http://10.1.0.1:80:80/",
            "http://10.1.0.1/a b", "http://10.1.0.1/\r\nX: y", "ftp://10.1.0.1/", "//10.1.0.1/", "http://0x0a010001/",
            "http://[::ffff:10.1.0.1]/", "http://10.1.0.1/" + String(repeating: "a", count: 512),
        ] {
            #expect(GatewayURL(text, on: gateway) == nil, "\(text)")
        }
    }

    @Test func `references are resolved, and those that leave the gateway are refused`() throws {
        let base = try #require(GatewayURL("http://10.1.0.1:5000/a/desc.xml?v=1", on: gateway))
        #expect(base.resolve("/ctl")?.path == "/ctl")
        #expect(base.resolve("ctl")?.path == "/a/ctl")
        #expect(base.resolve("http://10.1.0.1:6000/ctl")?.endpoint.port == 6000)
        #expect(base.resolve("http://10.1.0.9/ctl") == nil)
        #expect(base.resolve("//10.1.0.9/ctl") == nil)
        #expect(base.resolve("/ctl\r\nHost: x") == nil)
    }
}
