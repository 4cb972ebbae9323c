/// A STUN server with three addresses and two ports each, as NAT behaviour discovery needs (RFC 8489, RFC 5780).
///
/// It runs at the hub's place of a far underlay and answers on every address and port of the plan, with
/// XOR-MAPPED-ADDRESS, RESPONSE-ORIGIN and OTHER-ADDRESS, and from elsewhere when a CHANGE-REQUEST asks for it.
package struct STUNService {
    private let process: ChildProcess

    /// Returns once it answers.
    package init(in underlay: Underlay) throws {
        let process = try underlay.hub.spawn(
            ["/usr/bin/python3", "-c", Self.program] + Plan.servers + ["--"] + Plan.stunPorts.map { "\($0)" })
        self.process = process
        try waitUntil("STUN servers", timeout: 10) {
            guard process.isRunning else { throw LabError.ended("the STUN servers", text: process.standardError) }
            return process.standardOutput.contains("ready")
        }
    }

    package func stop() { process.stop() }

    /// Arguments: addresses, `--`, ports.
    private static let program = """
        import selectors, socket, struct, sys
        split = sys.argv.index("--")
        addresses, ports = sys.argv[1:split], [int(port) for port in sys.argv[split + 1:]]
        cookie = 0x2112A442
        def address_attribute(kind, address, port, mask=b"\\0" * 6):
            raw = struct.pack("!H", port) + socket.inet_aton(address)
            return struct.pack("!HHBB", kind, 8, 0, 1) + bytes(a ^ b for a, b in zip(raw, mask))
        def answer(request, source, here):
            if len(request) < 20 or request[0] & 0xC0: return None
            kind, length, magic = struct.unpack("!HHI", request[:8])
            if kind != 1 or magic != cookie or length != len(request) - 20: return None
            change, offset = 0, 20
            while offset + 4 <= len(request):
                attribute, size = struct.unpack("!HH", request[offset:offset + 4])
                if attribute == 3 and size == 4 and offset + 8 <= len(request):
                    change = struct.unpack("!I", request[offset + 4:offset + 8])[0]
                offset += 4 + (size + 3) // 4 * 4
            row, column = here
            other = ((row + 1) % len(addresses), (column + 1) % len(ports))
            origin = (other[0] if change & 4 else row, other[1] if change & 2 else column)
            mask = struct.pack("!H", cookie >> 16) + struct.pack("!I", cookie)
            body = (address_attribute(0x20, source[0], source[1], mask)
                    + address_attribute(0x802B, addresses[origin[0]], ports[origin[1]])
                    + address_attribute(0x802C, addresses[other[0]], ports[other[1]]))
            return origin, struct.pack("!HHI", 0x101, len(body), cookie) + request[8:20] + body
        sockets, ready = {}, selectors.DefaultSelector()
        for row, address in enumerate(addresses):
            for column, port in enumerate(ports):
                server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                server.bind((address, port))
                sockets[row, column] = server
                ready.register(server, selectors.EVENT_READ, (row, column))
        print("ready", flush=True)
        while True:
            for key, _ in ready.select():
                request, source = key.fileobj.recvfrom(2048)
                reply = answer(request, source, key.data)
                if reply: sockets[reply[0]].sendto(reply[1], source)
        """
}
