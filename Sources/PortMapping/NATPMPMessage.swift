import Addressing

/// The NAT Port Mapping Protocol on the wire (RFC 6886 section 3), as far as a client needs it.
///
///     address   version 0 (8), opcode 0 (8)
///     answer    0 (8), 128 (8), result (16), epoch (32), external address (32)
///     map UDP   0 (8), opcode 1 (8), reserved (16), internal port (16), external port (16), lifetime (32)
///     answer    0 (8), 129 (8), result (16), epoch (32), internal port (16), external port (16), lifetime (32)
enum NATPMP {
    static let port = PCP.port

    static let unsupportedVersion: UInt16 = 1
    static let names: [UInt16: String] = [
        1: "unsupported version", 2: "not authorized", 3: "network failure", 4: "no resources",
        5: "unsupported opcode",
    ]

    enum Response: Equatable {
        case address(IPv4Address, epoch: UInt32)
        case mapped(internalPort: UInt16, externalPort: UInt16, lifetime: UInt32, epoch: UInt32)
        case failed(result: UInt16)
    }

    static let addressRequest: [UInt8] = [0, 0]

    /// A lifetime of 0 deletes, with an external port of 0.
    static func map(internalPort: UInt16, externalPort: UInt16, lifetime: UInt32) -> [UInt8] {
        [0, 1, 0, 0] + [internalPort, externalPort].flatMap(bigEndian) + bigEndian(lifetime)
    }

    /// Nil for what is no answer.
    static func response(_ bytes: RawSpan) -> Response? {
        guard bytes.bigEndian(UInt8.self, at: 0) == 0, let opcode = bytes.bigEndian(UInt8.self, at: 1), opcode >= 128,
            let result = bytes.bigEndian(UInt16.self, at: 2), let epoch = bytes.bigEndian(UInt32.self, at: 4)
        else { return nil }
        if result != 0 { return .failed(result: result) }
        switch (opcode, bytes.byteCount) {
        case (128, 12):
            return bytes.bigEndian(UInt32.self, at: 8).map { .address(IPv4Address(value: $0), epoch: epoch) }
        case (129, 16):
            guard let inner = bytes.bigEndian(UInt16.self, at: 8), let outer = bytes.bigEndian(UInt16.self, at: 10),
                let lifetime = bytes.bigEndian(UInt32.self, at: 12)
            else { return nil }
            return .mapped(internalPort: inner, externalPort: outer, lifetime: lifetime, epoch: epoch)
        default: return nil
        }
    }
}
