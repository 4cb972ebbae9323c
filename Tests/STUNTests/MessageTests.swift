import Addressing
import STUN
import TestSupport
import Testing

func parse(_ bytes: [UInt8]) throws(MessageFault) -> Message { try unsafe Message(bytes.span.bytes) }

func hex(_ text: String) -> [UInt8] {
    Hexadecimal.decode(text.filter { !$0.isWhitespace }) ?? []
}

/// RFC 5769 section 2.1: a request with SOFTWARE, PRIORITY, ICE-CONTROLLED, USERNAME, MESSAGE-INTEGRITY, FINGERPRINT.
let sampleRequest = hex(
    """
    0001 0058 2112a442 b7e7a701bc34d686fa87dfae
    8022 0010 5354554e207465737420636c69656e74
    0024 0004 6e0001ff
    8029 0008 932ff9b151263b36
    0006 0009 6576746a3a68367659 202020
    0008 0014 9aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2
    8028 0004 e57a3bcf
    """)
/// Section 2.2: its response, 192.0.2.1:32853.
let sampleIPv4Response = hex(
    """
    0101 003c 2112a442 b7e7a701bc34d686fa87dfae
    8022 000b 7465737420766563746f72 20
    0020 0008 0001 a147 e112a643
    0008 0014 2b91f599fd9e90c38c7489f92af9ba53f06be7d7
    8028 0004 c07d4c96
    """)
/// Section 2.3: the same for [2001:db8:1234:5678:11:2233:4455:6677]:32853.
let sampleIPv6Response = hex(
    """
    0101 0048 2112a442 b7e7a701bc34d686fa87dfae
    8022 000b 7465737420766563746f72 20
    0020 0014 0002 a147 0113a9faa5d3f179bc25f4b5bed2b9d9
    0008 0014 a382954e4be67bf11784c97c8292c275bfe3ed41
    8028 0004 c8fb0b4c
    """)
/// Section 2.4: a request with long-term authentication (USERNAME, NONCE, REALM, MESSAGE-INTEGRITY).
let sampleLongTermRequest = hex(
    """
    0001 0060 2112a442 78ad3433c6ad72c029da412e
    0006 0012 e3839ee38388e383aae38383e382afe382b9 0000
    0015 001c 662f2f3439396b39353464364f4c33346f4c394653547679363473 41
    0014 000b 6578616d706c652e6f7267 00
    0008 0014 f67024656dd64a3e02b8e0712e85c9a28ca89666
    """)
let sampleTransaction = TransactionID(high: 0xb7e7_a701, low: 0xbc34_d686_fa87_dfae)

@Suite struct MessageTests {
    @Test func `the sample request of RFC 5769 parses and its fingerprint fits`() throws {
        let message = try parse(sampleRequest)
        #expect(message.messageClass == .request)
        #expect(message.method == Message.bindingMethod)
        #expect(message.transaction == sampleTransaction)
        #expect(message.hasFingerprint)
        // PRIORITY is ICE's, which we don't speak; ICE-CONTROLLED may be ignored.
        #expect(message.notUnderstood == [AttributeType(rawValue: 0x0024)])
    }

    @Test(arguments: [
        (sampleIPv4Response, "192.0.2.1:32853"),
        (sampleIPv6Response, "[2001:db8:1234:5678:11:2233:4455:6677]:32853"),
    ])
    func `the sample responses of RFC 5769 hold the mapped address`(bytes: [UInt8], endpoint: String) throws {
        let message = try parse(bytes)
        #expect(message.messageClass == .success)
        #expect(message.xorMappedAddress == Endpoint(endpoint))
        #expect(message.hasFingerprint)
        #expect(message.notUnderstood.isEmpty)
    }

    @Test func `the long-term sample request of RFC 5769 parses`() throws {
        let message = try parse(sampleLongTermRequest)
        #expect(message.transaction == TransactionID(high: 0x78ad_3433, low: 0xc6ad_72c0_29da_412e))
        #expect(!message.hasFingerprint)
        #expect(message.notUnderstood.isEmpty)
    }

    @Test func `the builder writes the sample response without its integrity`() throws {
        var builder = MessageBuilder(.success, transaction: sampleTransaction)
        builder.append(.software, Array("test vector".utf8))
        builder.appendXORMappedAddress(try #require(Endpoint("192.0.2.1:32853")))
        // The vector pads with a space where we pad with zero.
        var expected = Array(sampleIPv4Response[20..<48])
        expected[15] = 0
        #expect(Array(builder.bytes[20...]) == expected)
        builder.appendFingerprint()
        let message = try parse(builder.bytes)
        #expect(message.hasFingerprint)
        #expect(message.xorMappedAddress == Endpoint("192.0.2.1:32853"))
    }

    @Test func `no message with a flipped bit passes for one whose fingerprint fits`() {
        for bit in 0..<sampleIPv4Response.count * 8 {
            var bytes = sampleIPv4Response
            bytes[bit / 8] ^= 1 << UInt8(bit % 8)
            // A changed length may hide the fingerprint in another attribute: then there is none.
            #expect((try? parse(bytes))?.hasFingerprint != true)
        }
    }

    @Test func `every truncation is refused`() {
        for count in 0..<sampleRequest.count {
            #expect(throws: MessageFault.self) { try parse(Array(sampleRequest.prefix(count))) }
        }
    }

    @Test func `an attribute that reaches past the end is refused`() {
        var bytes = MessageBuilder(.request, transaction: sampleTransaction).bytes + hex("8022 0005 61626364")
        bytes[3] = 8
        #expect(throws: MessageFault.truncated) { try parse(bytes) }
        bytes.replaceSubrange(20..., with: hex("8022 ffff 61626364"))
        #expect(throws: MessageFault.truncated) { try parse(bytes) }
    }

    @Test func `known attributes with malformed values are refused`() {
        for (type, value) in [
            (AttributeType.xorMappedAddress, hex("0003 a147 e112a643")), (.xorMappedAddress, hex("0001 a147")),
            (.xorMappedAddress, hex("0002 a147 e112a643")), (.mappedAddress, []),
            (.otherAddress, hex("0001a147e112a64300")),
            (.errorCode, hex("0000")), (.errorCode, hex("00000764")), (.changeRequest, hex("0000000400")),
            (.unknownAttributes, hex("000102")),
        ] {
            var builder = MessageBuilder(.success, transaction: sampleTransaction)
            builder.append(type, value)
            let bytes = builder.bytes
            #expect(throws: MessageFault.malformedAttribute(type)) { try parse(bytes) }
        }
    }

    @Test func `the attributes of RFC 5780 parse`() throws {
        var builder = MessageBuilder(.success, transaction: sampleTransaction)
        let origin = try #require(Endpoint("192.0.2.9:3478"))
        let other = try #require(Endpoint("[2001:db8::9]:3479"))
        builder.appendAddress(.responseOrigin, origin)
        builder.appendAddress(.otherAddress, other)
        builder.append(.changeRequest, [0, 0, 0, 6])
        let message = try parse(builder.bytes)
        #expect(message.responseOrigin == origin)
        #expect(message.otherAddress == other)
        #expect(message.changeRequest == 6)
    }

    @Test func `of a repeated attribute the first counts, and none after the integrity`() throws {
        let first = try #require(Endpoint("192.0.2.1:1"))
        let second = try #require(Endpoint("192.0.2.2:2"))
        var builder = MessageBuilder(.success, transaction: sampleTransaction)
        builder.appendXORMappedAddress(first)
        builder.appendXORMappedAddress(second)
        builder.append(.messageIntegrity, [UInt8](repeating: 0, count: 20))
        builder.appendAddress(.otherAddress, second)
        let message = try parse(builder.bytes)
        #expect(message.xorMappedAddress == first)
        #expect(message.otherAddress == nil)
    }

    @Test func `lists of unknown attributes are bounded`() throws {
        var builder = MessageBuilder(.request, transaction: sampleTransaction)
        for type in 0x4000..<0x4100 { builder.append(AttributeType(rawValue: UInt16(type)), []) }
        #expect(try parse(builder.bytes).notUnderstood.count == 8)
    }

    @Test func `100,000 mutated messages parse or are refused without a trap`() {
        var random = SeededRandom(seed: 5769)
        let samples = [sampleRequest, sampleIPv4Response, sampleIPv6Response, sampleLongTermRequest]
        var parsed = 0
        for round in 0..<100_000 {
            var bytes = random.mutated(samples[round % samples.count])
            // Without its length right, most mutations would end at the first check.
            if round % 2 == 0, bytes.count >= 20 { bytes[3] = UInt8(truncatingIfNeeded: bytes.count - 20) }
            if (try? parse(bytes)) != nil { parsed += 1 }
        }
        #expect(parsed > 100)
    }
}
