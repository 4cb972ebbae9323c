package import Addressing
package import Membership
import NIOCore
package import Sodium

/// What an agent is told when it has joined: where the mesh's directory and relays are.
package struct MeshInfo: Equatable, Sendable {
    package struct Relay: Equatable, Sendable {
        /// The first 16 bytes of BLAKE2b-256 of the relay's Ed25519 key.
        package let id: AgentID
        /// By UDP.
        package let endpoints: [Endpoint]
        /// By TLS, for where UDP is blocked.
        package let streams: [Stream]

        package init(id: AgentID, endpoints: [Endpoint], streams: [Stream] = []) {
            self.id = id
            self.endpoints = endpoints
            self.streams = streams
        }
    }

    /// A relay's TLS port, or that of an ingress in front of it.
    package struct Stream: Hashable, Sendable {
        package let address: HubAddress
        /// BLAKE2b-256 of the SubjectPublicKeyInfo in the certificate shown there.
        package let pin: Bytes32

        package init(address: HubAddress, pin: Bytes32) {
            self.address = address
            self.pin = pin
        }
    }

    package let directory: HubAddress
    /// BLAKE2b-256 of the SubjectPublicKeyInfo in the directory's TLS certificate.
    package let directoryPin: Bytes32
    /// The mesh's virtual address space: never an underlay target.
    package let ranges: [IPPrefix]
    /// Best first.
    package let relays: [Relay]
    package let stun: [Endpoint]

    package init(
        directory: HubAddress, directoryPin: Bytes32, ranges: [IPPrefix], relays: [Relay], stun: [Endpoint]
    ) {
        self.directory = directory
        self.directoryPin = directoryPin
        self.ranges = ranges
        self.relays = relays
        self.stun = stun
    }
}

// Layout:
//   1+n  directory, HOST:PORT
//   32   directory pin
//   1    number of ranges (at most 16), each: 1+n text PREFIX/LENGTH
//   1    number of relays (at most 16), each: 16 id, 1 number of endpoints (at most 4), each: 1+n text ADDRESS:PORT,
//        1 number of streams (at most 4), each: 1+n text HOST:PORT, 32 pin
//   1    number of STUN endpoints (at most 16), each: 1+n text ADDRESS:PORT
extension ByteBuffer {
    mutating func writeMeshInfo(_ info: MeshInfo) {
        writeText8(info.directory.description)
        writeBytes32(info.directoryPin)
        writeList(info.ranges) { $0.writeText8($1.description) }
        writeList(info.relays) {
            $0.writeAgentID($1.id)
            $0.writeList($1.endpoints) { $0.writeText8($1.description) }
            $0.writeList($1.streams) {
                $0.writeText8($1.address.description)
                $0.writeBytes32($1.pin)
            }
        }
        writeList(info.stun) { $0.writeText8($1.description) }
    }

    mutating func readMeshInfo() -> MeshInfo? {
        guard let directory = readText8().flatMap({ HubAddress($0) }), let pin = readBytes32(),
            let ranges = readList(limit: 16, { $0.readText8().flatMap { IPPrefix($0) } }),
            let relays = readList(
                limit: 16,
                { buffer -> MeshInfo.Relay? in
                    guard let id = buffer.readAgentID(),
                        let endpoints = buffer.readList(limit: 4, { $0.readText8().flatMap { Endpoint($0) } }),
                        let streams = buffer.readList(limit: 4, { $0.readStream() })
                    else { return nil }
                    return MeshInfo.Relay(id: id, endpoints: endpoints, streams: streams)
                }),
            let stun = readList(limit: 16, { $0.readText8().flatMap { Endpoint($0) } })
        else { return nil }
        return MeshInfo(directory: directory, directoryPin: pin, ranges: ranges, relays: relays, stun: stun)
    }

    private mutating func readStream() -> MeshInfo.Stream? {
        guard let address = readText8().flatMap({ HubAddress($0) }), let pin = readBytes32() else { return nil }
        return MeshInfo.Stream(address: address, pin: pin)
    }
}
