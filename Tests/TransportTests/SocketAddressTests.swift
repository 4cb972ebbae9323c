import Addressing
import Testing
import Transport

@Suite struct SocketAddressTests {
    private func stored(_ endpoint: Endpoint) -> [UInt8] {
        var bytes = [UInt8](repeating: 0xee, count: SocketAddress.size)
        let length = unsafe bytes.withUnsafeMutableBytes { bytes in
            unsafe bytes.baseAddress.map { unsafe SocketAddress.store(endpoint, to: $0) } ?? 0
        }
        return Array(bytes.prefix(Int(length)))
    }

    private func loaded(_ bytes: [UInt8], length: Int? = nil) -> Endpoint? {
        unsafe bytes.withUnsafeBytes { buffer in
            unsafe buffer.baseAddress.flatMap { unsafe SocketAddress.load($0, length: length ?? buffer.count) }
        }
    }

    @Test func `an IPv4 endpoint is a sockaddr_in`() throws {
        let endpoint = try #require(Endpoint("192.0.2.1:51820"))
        #expect(stored(endpoint) == [2, 0, 0xca, 0x6c, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0])
        #expect(loaded(stored(endpoint)) == endpoint)
    }

    @Test func `an IPv6 endpoint is a sockaddr_in6`() throws {
        let endpoint = try #require(Endpoint("[2001:db8::1]:443"))
        let address: [UInt8] = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
        #expect(stored(endpoint) == [10, 0, 1, 0xbb, 0, 0, 0, 0] + address + [0, 0, 0, 0])
        #expect(loaded(stored(endpoint)) == endpoint)
    }

    @Test func `a short one, or another family, is none`() throws {
        let bytes = stored(try #require(Endpoint("[2001:db8::1]:443")))
        #expect(loaded(bytes, length: 27) == nil)
        #expect(loaded(bytes, length: 0) == nil)
        #expect(loaded([1] + bytes.dropFirst()) == nil)
    }
}
