import Foundation

/// What a host sees of the NATs before it with STUN alone: RFC 5780's tests, each with a fresh socket.
package struct NATProbe: Decodable, Sendable {
    package struct Mapped: Decodable, Sendable, Hashable {
        package let address: String
        package let port: Int
    }

    /// The probing socket's own port.
    package let localPort: Int
    /// What each of three addresses with two ports saw; nil where no answer came.
    package let mapped: [Mapped?]
    /// An answer from an address that nothing was sent to came in.
    package let letsAnybodyIn: Bool
    /// An answer from another port of an address that something was sent to came in.
    package let letsOtherPortsIn: Bool

    /// Runs the tests in a place behind the NAT, where a STUN service runs; with any port, or with a certain one.
    package init(from place: some Place, port: Int? = nil) throws {
        let words =
            ["/usr/bin/python3", "-c", Self.program] + Plan.servers + ["--"] + Plan.stunPorts.map { "\($0)" }
            + (port.map { ["\($0)"] } ?? [])
        let output = try place.result(of: words)
        guard output.succeeded else { throw LabError.command(["probe"], status: output.status, text: output.text) }
        self = try JSONDecoder().decode(Self.self, from: Data(output.standardOutput.utf8))
    }

    package var isBlocked: Bool { mapped.allSatisfy { $0 == nil } }

    /// Nil where an answer is missing.
    package var mapping: NATClass.Mapping? {
        let seen = mapped.compactMap(\.self)
        guard seen.count == mapped.count else { return nil }
        if Set(seen).count == 1 { return .endpointIndependent }
        let byAddress = stride(from: 0, to: seen.count, by: 2).allSatisfy { seen[$0] == seen[$0 + 1] }
        return byAddress ? .addressDependent : .addressAndPortDependent
    }

    package var filtering: NATClass.Filtering? {
        if isBlocked { return nil }
        return letsAnybodyIn
            ? .endpointIndependent : letsOtherPortsIn ? .addressDependent : .addressAndPortDependent
    }

    package var ports: [Int] { mapped.compactMap { $0?.port } }
    package var addresses: Set<String> { Set(mapped.compactMap { $0?.address }) }

    /// Whether the ports are what `allocation` says.
    package func agrees(with allocation: NATClass.Allocation) -> Bool {
        switch allocation {
        case .preserving: ports.allSatisfy { $0 == localPort }
        case .rewritten: ports.allSatisfy { $0 != localPort }
        case .sequential: zip(ports, ports.dropFirst()).allSatisfy { $1 == $0 + 1 }
        case .random(let range):
            ports.allSatisfy { range.contains($0) } && !zip(ports, ports.dropFirst()).allSatisfy { $1 == $0 + 1 }
        }
    }

    /// Arguments: addresses, `--`, two ports, and perhaps a local port. Prints JSON. What a filter lets in is asked first:
    /// with a fixed port the other addresses must not have been sent to.
    private static let program = """
        import json, os, random, socket, struct, sys, time
        split = sys.argv.index("--")
        addresses, ports = sys.argv[1:split], [int(port) for port in sys.argv[split + 1:split + 3]]
        fixed = [int(port) for port in sys.argv[split + 3:]]
        def fresh():
            client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            while True:
                try:
                    client.bind(("0.0.0.0", fixed[0] if fixed else random.randrange(20100, 60000)))
                    return client
                except OSError:
                    if fixed: raise
        def ask(client, address, port, change=0, seconds=0.25, tries=6):
            tag = os.urandom(12)
            body = struct.pack("!HHI", 3, 4, change) if change else b""
            for _ in range(tries):
                client.sendto(struct.pack("!HHI", 1, len(body), 0x2112A442) + tag + body, (address, port))
                end = time.monotonic() + seconds
                while (left := end - time.monotonic()) > 0:
                    client.settimeout(left)
                    try: answer, source = client.recvfrom(2048)
                    except OSError: break
                    if len(answer) >= 32 and answer[:2] == b"\\x01\\x01" and answer[8:20] == tag:
                        seen, raw = struct.unpack("!HI", answer[26:32])
                        return {"address": socket.inet_ntoa(struct.pack("!I", raw ^ 0x2112A442)), "port": seen ^ 0x2112}
            return None
        client, anybody, other = fresh(), False, False
        if ask(client, addresses[0], ports[0]):
            anybody = ask(client, addresses[0], ports[0], 6, 0.15, 2) is not None
            other = ask(client, addresses[0], ports[0], 2, 0.15, 2) is not None
            client.close()
            client, mapped = fresh(), []
            for address in addresses:
                for port in ports: mapped.append(ask(client, address, port))
        else:
            mapped = [ask(client, address, port, tries=1) for address in addresses for port in ports]
        print(json.dumps({"localPort": client.getsockname()[1], "mapped": mapped, "letsAnybodyIn": anybody,
                          "letsOtherPortsIn": other}))
        """
}
