import Addressing
import STUN
import TestSupport
import Testing
import Timing

@Suite struct BindingClientTests {
    let first = Endpoint(.v4(IPv4Address(192, 0, 2, 1)), port: 3478)
    let second = Endpoint(.v4(IPv4Address(192, 0, 2, 2)), port: 3478)
    let mapped = Endpoint(.v4(IPv4Address(203, 0, 113, 5)), port: 40000)

    func receive(
        _ client: inout BindingClient, _ bytes: [UInt8], from source: Endpoint, at now: MonotonicTime
    ) -> BindingClient.Received {
        unsafe client.receive(bytes.span.bytes, from: source, now: now)
    }

    func response(to request: [UInt8], _ fill: (inout MessageBuilder) -> Void) throws -> [UInt8] {
        var builder = MessageBuilder(.success, transaction: try parse(request).transaction)
        fill(&builder)
        return builder.bytes
    }

    /// The datagrams among `actions`, with where they go.
    func sent(_ actions: [BindingClient.Action]) -> [(bytes: [UInt8], to: Endpoint)] {
        actions.compactMap { if case .send(let bytes, let to) = $0 { (bytes, to) } else { nil } }
    }

    @Test func `it asks all servers at once with requests of 44 bytes and learns the mapping and round trip`() throws {
        var random = SeededRandom(seed: 1)
        var client = BindingClient(servers: [first, second], now: .zero)
        let requests = sent(client.poll(now: .zero, using: &random))
        #expect(requests.map(\.to) == [first, second])
        #expect(requests.allSatisfy { $0.bytes.count == 44 })
        let transactions = try requests.map { try parse($0.bytes).transaction }
        #expect(transactions[0] != transactions[1])

        let reply = try response(to: requests[0].bytes) { $0.appendXORMappedAddress(mapped) }
        let received = receive(&client, reply, from: first, at: .zero + .milliseconds(40))
        #expect(
            received
                == .mapped(.init(server: first, mapped: mapped, roundTrip: .milliseconds(40), otherAddress: nil)))
        // The exchange is over: the same response again is foreign.
        let again = receive(&client, reply, from: first, at: .zero + .milliseconds(41))
        #expect(again == .refused(.unknownTransaction))
    }

    @Test func `an answer with a foreign transaction id or from a foreign source is refused and counted`() throws {
        var random = SeededRandom(seed: 2)
        var client = BindingClient(servers: [first, second], now: .zero)
        let requests = sent(client.poll(now: .zero, using: &random))
        var forged = MessageBuilder(.success, transaction: TransactionID(high: 1, low: 2))
        forged.appendXORMappedAddress(mapped)
        let wrongID = receive(&client, forged.bytes, from: first, at: .zero)
        #expect(wrongID == .refused(.unknownTransaction))

        let reply = try response(to: requests[0].bytes) { $0.appendXORMappedAddress(mapped) }
        for source in [second, Endpoint(first.address, port: 3479), mapped] {
            let received = receive(&client, reply, from: source, at: .zero)
            #expect(received == .refused(.foreignSource))
        }
        #expect(client.count(of: .unknownTransaction) == 1)
        #expect(client.count(of: .foreignSource) == 3)
        // The exchange is still open for the right one.
        guard case .mapped = receive(&client, reply, from: first, at: .zero) else {
            Issue.record("refused")
            return
        }
    }

    @Test func `requests, indications and broken bytes are refused`() throws {
        var random = SeededRandom(seed: 3)
        var client = BindingClient(servers: [first], now: .zero)
        let request = sent(client.poll(now: .zero, using: &random))[0].bytes
        let echoed = receive(&client, request, from: first, at: .zero)
        let broken = receive(&client, Array(request.dropLast()), from: first, at: .zero)
        #expect(echoed == .refused(.notResponse))
        #expect(broken == .refused(.malformed))
    }

    @Test(arguments: [nil, Interval.milliseconds(100)])
    func `it sends again as RFC 8489 6.2.1 says and then gives up`(firstRetry: Interval?) throws {
        let expected: [UInt64] =
            firstRetry == nil
            ? [0, 500, 1500, 3500, 7500, 15500, 31500] : [0, 100, 600, 1600, 3600, 7600, 15600]
        let end = (expected.last ?? 0) + 8000
        var random = SeededRandom(seed: 4)
        var configuration = BindingClient.Configuration()
        configuration.firstRetry = firstRetry
        var client = BindingClient(servers: [first], configuration, now: .zero)
        var times: [UInt64] = []
        var transactions: Set<TransactionID> = []
        var failedAt: UInt64?
        while failedAt == nil {
            let now = client.nextTimer
            for action in client.poll(now: now, using: &random) {
                switch action {
                case .send(let bytes, _):
                    times.append(now.nanoseconds / 1_000_000)
                    transactions.insert(try parse(bytes).transaction)
                case .failed(let server, let failure):
                    #expect(server == first)
                    #expect(failure == .timeout)
                    failedAt = now.nanoseconds / 1_000_000
                }
            }
        }
        #expect(times == expected)
        #expect(failedAt == end)
        #expect(transactions.count == 1)
        // It asks again after the refresh interval, with another id.
        #expect(client.nextTimer == .zero + .milliseconds(end) + .seconds(25))
        let next = sent(client.poll(now: client.nextTimer, using: &random))[0].bytes
        #expect(transactions.contains(try parse(next).transaction) == false)
    }

    @Test func `after a retransmission the round trip is not known`() throws {
        var random = SeededRandom(seed: 5)
        var client = BindingClient(servers: [first], now: .zero)
        let request = sent(client.poll(now: .zero, using: &random))[0].bytes
        _ = client.poll(now: .zero + .milliseconds(500), using: &random)
        let reply = try response(to: request) { $0.appendXORMappedAddress(mapped) }
        guard case .mapped(let mapping) = receive(&client, reply, from: first, at: .zero + .milliseconds(510)) else {
            Issue.record("refused")
            return
        }
        #expect(mapping.roundTrip == nil)
    }

    @Test func `errors and responses without an address fail the server until the refresh`() throws {
        var random = SeededRandom(seed: 6)
        var client = BindingClient(servers: [first, second], now: .zero)
        let requests = sent(client.poll(now: .zero, using: &random))
        var error = MessageBuilder(.error, transaction: try parse(requests[0].bytes).transaction)
        error.appendErrorCode(420)
        let refused = receive(&client, error.bytes, from: first, at: .zero)
        #expect(refused == .failed(server: first, .errorResponse(420)))
        let empty = try response(to: requests[1].bytes) { _ in }
        let unusable = receive(&client, empty, from: second, at: .zero)
        #expect(unusable == .failed(server: second, .unusableResponse))
        #expect(client.nextTimer == .zero + .seconds(25))
    }

    @Test func `MAPPED-ADDRESS and OTHER-ADDRESS are used where a server gives them`() throws {
        var random = SeededRandom(seed: 7)
        var client = BindingClient(servers: [first], now: .zero)
        let request = sent(client.poll(now: .zero, using: &random))[0].bytes
        let reply = try response(to: request) {
            $0.appendAddress(.mappedAddress, mapped)
            $0.appendAddress(.otherAddress, second)
        }
        let received = receive(&client, reply, from: first, at: .zero)
        #expect(
            received == .mapped(.init(server: first, mapped: mapped, roundTrip: .zero, otherAddress: second)))
    }

    @Test func `a refresh asks everybody at once and forgets what was outstanding`() throws {
        var random = SeededRandom(seed: 8)
        var client = BindingClient(servers: [first], now: .zero)
        let old = sent(client.poll(now: .zero, using: &random))[0].bytes
        client.refresh(now: .zero + .milliseconds(10))
        #expect(sent(client.poll(now: .zero + .milliseconds(10), using: &random)).count == 1)
        let reply = try response(to: old) { $0.appendXORMappedAddress(mapped) }
        let received = receive(&client, reply, from: first, at: .zero + .milliseconds(20))
        #expect(received == .refused(.unknownTransaction))
    }
}
