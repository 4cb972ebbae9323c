import Testing

@testable import Kubernetes

@Suite struct LineBufferTests {
    @Test func `lines come whole, however the stream is cut`() throws {
        let text = Array("{\"a\":1}\n\n{\"b\":2}\n{\"c\"".utf8)
        for size in 1...text.count {
            var buffer = LineBuffer(limit: 64)
            var lines: [[UInt8]] = []
            var rest = text[...]
            while !rest.isEmpty {
                lines += try buffer.take(Array(rest.prefix(size)))
                rest = rest.dropFirst(size)
            }
            #expect(lines == [Array("{\"a\":1}".utf8), Array("{\"b\":2}".utf8)])
        }
    }

    @Test func `a line without end is refused`() {
        var buffer = LineBuffer(limit: 8)
        #expect(throws: KubernetesError.self) { try buffer.take(Array("123456789".utf8)) }
    }
}

@Suite struct ResourcePathTests {
    @Test func `paths are the API's`() {
        #expect(ResourcePath(namespace: "shop", "secrets", "tls").description == "/api/v1/namespaces/shop/secrets/tls")
        #expect(
            ResourcePath(group: "admissionregistration.k8s.io", "mutatingwebhookconfigurations").description
                == "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations")
        #expect(
            ResourcePath("pods").query([("fieldSelector", "a=b/ü"), ("watch", "1")])
                == "/api/v1/pods?fieldSelector=a%3Db%2F%C3%BC&watch=1")
        #expect(ResourcePath(namespace: "../..", "secrets").description == "/api/v1/namespaces/..%2F../secrets")
    }
}
